"""`sway tail`."""

import os
import sys
from itertools import islice
from typing import Annotated

import typer
from confluent_kafka import Message

from schemas.errors import DecodeError
from schemas.records import Record
from sway.cluster import Cluster
from sway.configuration import load_settings
from sway.errors import CommandError
from sway.tail.decode import AnyRecordDecoder
from sway.tail.follow import follow
from sway.tail.show import as_json, as_line
from sway.topic_names import full_name


def tail(
    topic: Annotated[str, typer.Argument(help="Full topic name, or a short name such as `scores`.")],
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start at the oldest record instead of the end.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Exit after this number of records.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Print the committed records of a topic.

    Decodes and prints records until Ctrl-C. Joins no consumer group and commits nothing. A record that cannot be
    decoded is shown with the reason.

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
        on_ready=lambda: typer.echo(f"reading {name}; press Ctrl-C to stop", err=True),
    )
    try:
        for message in islice(messages, limit):
            typer.echo(_shown(message, _decoded(decoder, message), as_object=json))
    except BrokenPipeError:
        # The reader of the pipe has exited, as in `sway tail … | head`. Discard what Python would flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        messages.close()


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
