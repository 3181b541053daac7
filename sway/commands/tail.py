"""`sway tail`."""

import os
import sys
from itertools import islice
from typing import Annotated

import typer
from confluent_kafka import Message

from schemas.errors import DecodeError
from schemas.records import Record
from stream.settings import TopicSettings
from sway.cluster import Cluster
from sway.configuration import load_settings
from sway.errors import CommandError
from sway.tailing.decode import AnyRecordDecoder
from sway.tailing.follow import follow
from sway.tailing.show import as_json, as_line


def tail(
    topic: Annotated[
        str, typer.Argument(help="A topic's full name, or one of Sway's by its short one, such as `scores`.")
    ],
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest record, not with the next.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many records.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, with topic, partition, offset and key.")
    ] = False,
) -> None:
    """Show the records of a topic as they are committed, decoded, until Ctrl-C.

    Joins no group and commits nothing, so it disturbs nobody. What cannot be decoded is shown as such.

    Example: `sway tail scores --from-beginning --limit 10`, or `sway tail dead-letters --json | jq .record.reason`
    """
    settings = load_settings()
    name = full_name(topic, settings.topics)
    partitions = Cluster(settings.kafka).view().partition_counts.get(name)
    if partitions is None:
        raise CommandError(f"there is no topic {name}: create Sway's topics with `sway topics create`")
    decoder = AnyRecordDecoder(settings.wire)
    messages = follow(
        settings.kafka.client_config(),
        name,
        partitions,
        from_beginning=from_beginning,
        on_ready=lambda: typer.echo(f"following {name}; Ctrl-C ends it", err=True),
    )
    try:
        for message in islice(messages, limit):
            typer.echo(_shown(message, _decoded(decoder, message), as_object=json))
    except BrokenPipeError:
        # `sway tail … | head` has seen enough; what Python would still flush at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        messages.close()


def full_name(topic: str, topics: TopicSettings) -> str:
    """Return a topic's full name, given that or one of Sway's short names: dead-letters or dead_letters."""
    return topics.names().get(topic.replace("-", "_").replace(".", "_"), topic)


def _decoded(decoder: AnyRecordDecoder, message: Message) -> Record | DecodeError:
    try:
        return decoder.decode(message.value())
    except DecodeError as exc:
        return exc


def _shown(message: Message, record: Record | DecodeError, *, as_object: bool) -> str:
    topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
    _, timestamp_ms = message.timestamp()
    if as_object:
        key = message.key()
        return as_json(
            topic,
            partition,
            offset,
            timestamp_ms,
            key.encode() if isinstance(key, str) else key,
            record,
        )
    return as_line(f"{topic}[{partition}]@{offset}", timestamp_ms, record)
