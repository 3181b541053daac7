"""`sway up`."""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from stream.settings import KafkaSettings, TopicSettings
from sway.cluster import Cluster
from sway.commands.schemas import register_all
from sway.configuration import load_settings
from sway.errors import CommandError
from sway.topic_plan import find_problems, missing, plan_topics

if TYPE_CHECKING:
    from schemas.registration import SubjectStatus

DEFAULT_PORT = 9092  # where the settings look by default
DEFAULT_REGISTRY_PORT = 8081  # where Schema Registries are by custom
_POLL_S = 0.2


def up(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Keep topics and schemas in this folder [default: a temporary one, gone at the end]."
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the broker; another one if it is taken.")
    ] = DEFAULT_PORT,
    heap_mb: Annotated[int, typer.Option(min=128, help="Heap of the broker's JVM, in MB.")] = 512,
    registry: Annotated[
        bool, typer.Option("--registry", help="Run a Schema Registry too, with the current schemas in it.")
    ] = False,
    registry_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the registry; another one if it is taken.")
    ] = DEFAULT_REGISTRY_PORT,
) -> None:
    """Run a real Apache Kafka on this machine, with Sway's topics, until Ctrl-C.

    Needs no Docker and no Java. The first time it fetches Kafka, 45 MB, from Maven Central. The topics keep
    their records for ever. What it prints first are the settings for the other commands.

    With `--registry` it also runs Apicurio Registry, a Schema Registry with Confluent's API (159 MB, the first
    time), and registers the current schemas.

    Example: `sway up --data-dir kafka-data --registry`
    """
    from sway.embedded import EmbeddedKafka, EmbeddedRegistry  # the extra `embedded` may be missing elsewhere

    settings = load_settings()
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    kafka = EmbeddedKafka(data_dir, heap_mb, port=port, on_fetch=_say_fetch("Apache Kafka"))
    schemas_dir = None if data_dir is None else data_dir / "schema-registry"
    schemas = EmbeddedRegistry(schemas_dir, port=registry_port, on_fetch=_say_fetch("Apicurio Registry"))
    try:
        with kafka, schemas if registry else nullcontext():
            took_s = time.monotonic() - started
            _create_topics(settings.topics, kafka.bootstrap_servers)
            url = schemas.url if registry else None
            standings = [] if url is None else register_all(settings, url)
            _tell_settings(kafka.bootstrap_servers, url, settings.topics.prefix)
            if registry:
                _tell_schemas(standings)
            what = "Kafka and the registry answer" if registry else "Kafka answers"
            typer.echo(f"{what} after {took_s:.1f} s; log: {kafka.log_path}; Ctrl-C ends it.", err=True)
            while kafka.running and (schemas.running or not registry):
                time.sleep(_POLL_S)
            if kafka.running:
                raise CommandError(
                    f"the Schema Registry ended by itself with status {schemas.wait()}:\n{schemas.trouble()}"
                )
            raise CommandError(f"Kafka ended by itself with status {kafka.wait()}:\n{kafka.trouble()}")
    except KeyboardInterrupt:
        typer.echo("Kafka has ended.", err=True)


def _tell_settings(bootstrap_servers: str, registry_url: str | None, prefix: str) -> None:
    typer.echo(f"export SWAY_KAFKA__BOOTSTRAP_SERVERS={bootstrap_servers}")
    if registry_url is not None:
        typer.echo(f"export SWAY_WIRE__REGISTRY_URL={registry_url}")
    if prefix != "sway":
        typer.echo(f"export SWAY_TOPICS__PREFIX={prefix}")


def _tell_schemas(standings: "Sequence[SubjectStatus]") -> None:
    """Say how to write in Confluent's format, or which schemas the registry of an older folder refuses."""
    problems = [f"{standing.subject}: {standing.problem}" for standing in standings if standing.problem]
    if problems:
        typer.echo("not every schema is registered:\n" + "\n".join(problems), err=True)
    else:
        typer.echo("the current schemas are registered; to write in Confluent's format, also", err=True)
        typer.echo("export SWAY_WIRE__FORMAT=confluent", err=True)


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
    cluster.create(missing(planned, existing), None)


def _say_fetch(what: str) -> Callable[[int, int, object], None]:
    def say(done: int, of: int, _what: object) -> None:
        if done == 0:
            typer.echo(
                f"fetching {what} from Maven Central, once: {of} {'files' if of > 1 else 'file'}", err=True
            )

    return say


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
