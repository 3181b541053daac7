"""`sway up`."""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from stream.settings import KafkaSettings, TopicSettings
from sway.cluster import Cluster
from sway.configuration import load_settings
from sway.errors import CommandError
from sway.topic_plan import find_problems, missing, plan_topics

DEFAULT_PORT = 9092  # where the settings look by default


def up(
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Keep the topics in this folder [default: a temporary one, gone at the end]."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the broker; another one if it is taken.")
    ] = DEFAULT_PORT,
    heap_mb: Annotated[int, typer.Option(min=128, help="Heap of the broker's JVM, in MB.")] = 512,
) -> None:
    """Run a real Apache Kafka on this machine, with Sway's topics, until Ctrl-C.

    Needs no Docker and no Java. The first time it fetches Kafka, 45 MB, from Maven Central. The topics keep
    their records for ever. What it prints first are the settings for the other commands.

    Example: `sway up --data-dir kafka-data`
    """
    from sway.embedded import EmbeddedKafka  # the extra `embedded` may be missing for the other commands

    settings = load_settings()
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    kafka = EmbeddedKafka(data_dir, heap_mb, port=port, on_fetch=_say_fetch)
    try:
        with kafka:
            took_s = time.monotonic() - started
            _create_topics(settings.topics, kafka.bootstrap_servers)
            typer.echo(f"export SWAY_KAFKA__BOOTSTRAP_SERVERS={kafka.bootstrap_servers}")
            if settings.topics.prefix != "sway":
                typer.echo(f"export SWAY_TOPICS__PREFIX={settings.topics.prefix}")
            typer.echo(
                f"Kafka answers after {took_s:.1f} s; log: {kafka.log_path}; Ctrl-C ends it.", err=True
            )
            raise CommandError(f"Kafka ended by itself with status {kafka.wait()}:\n{kafka.trouble()}")
    except KeyboardInterrupt:
        typer.echo("Kafka has ended.", err=True)


def _create_topics(topics: TopicSettings, bootstrap_servers: str) -> None:
    planned = plan_topics(topics, topics.partitions, history=True)
    # What the settings say about security is for another cluster: the embedded one has none.
    cluster = Cluster(KafkaSettings(bootstrap_servers=bootstrap_servers))
    existing = cluster.view().partition_counts
    problems = find_problems(planned, existing)
    if problems:
        raise CommandError(
            f"the data folder does not fit the settings: {'; '.join(problems)}. Set SWAY_TOPICS__PARTITIONS as "
            "it was, or take another folder"
        )
    cluster.create(missing(planned, existing))


def _say_fetch(done: int, of: int, _what: object) -> None:
    if done == 0:
        typer.echo(f"fetching Apache Kafka from Maven Central, once: {of} files", err=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
