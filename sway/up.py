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
from sway.configuration import load_settings
from sway.errors import CommandError
from sway.schema_subjects import register_all
from sway.topic_plan import find_problems, missing, plan_topics

if TYPE_CHECKING:
    from schemas.registration import SubjectStatus

# The port in the default settings.
DEFAULT_PORT = 9092
# The conventional port of a Schema Registry.
DEFAULT_REGISTRY_PORT = 8081
_POLL_S = 0.2


def up(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Store topics and schemas in this folder [default: a temporary folder, removed at exit]."
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the broker; if taken, a free port.")
    ] = DEFAULT_PORT,
    heap_mb: Annotated[int, typer.Option(min=128, help="Heap size of the broker, in MB.")] = 512,
    registry: Annotated[
        bool, typer.Option("--registry", help="Also run a Schema Registry and register the schemas.")
    ] = False,
    registry_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the Schema Registry; if taken, a free port.")
    ] = DEFAULT_REGISTRY_PORT,
) -> None:
    """Run a local Kafka with Sway's topics.

    Runs Apache Kafka on this machine until Ctrl-C, without Docker or an installed Java. The first run downloads Kafka,
    45 MB, from Maven Central. The topics have unlimited retention. The command first prints the settings for the other
    commands.

    With `--registry` it also runs Apicurio Registry, a Schema Registry with the Confluent API (a download of 159 MB on
    the first run), and registers the current schemas.

    Example: `sway up --data-dir kafka-data --registry`
    """
    # Imported here because the other commands work without the extra `embedded`.
    from sway.embedded import EmbeddedKafka, EmbeddedRegistry

    settings = load_settings()
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    kafka = EmbeddedKafka(data_dir, heap_mb, port=port, on_fetch=_report_download("Apache Kafka"))
    schemas_dir = None if data_dir is None else data_dir / "schema-registry"
    schemas = EmbeddedRegistry(
        schemas_dir, port=registry_port, on_fetch=_report_download("Apicurio Registry")
    )
    try:
        with kafka, schemas if registry else nullcontext():
            took_s = time.monotonic() - started
            _create_topics(settings.topics, kafka.bootstrap_servers)
            url = schemas.url if registry else None
            standings = [] if url is None else register_all(settings.topics, url)
            _print_settings(kafka.bootstrap_servers, url, settings.topics.prefix)
            if registry:
                _print_schemas(standings)
            what = "Kafka and the Schema Registry are ready" if registry else "Kafka is ready"
            typer.echo(f"{what} after {took_s:.1f} s; log: {kafka.log_path}; press Ctrl-C to stop.", err=True)
            while kafka.running and (schemas.running or not registry):
                time.sleep(_POLL_S)
            if kafka.running:
                raise CommandError(
                    f"the Schema Registry exited with status {schemas.wait()}:\n{schemas.log_tail()}"
                )
            raise CommandError(f"Kafka exited with status {kafka.wait()}:\n{kafka.log_tail()}")
    except KeyboardInterrupt:
        typer.echo("Kafka has stopped.", err=True)


def _print_settings(bootstrap_servers: str, registry_url: str | None, prefix: str) -> None:
    typer.echo(f"export SWAY_KAFKA__BOOTSTRAP_SERVERS={bootstrap_servers}")
    if registry_url is not None:
        typer.echo(f"export SWAY_WIRE__REGISTRY_URL={registry_url}")
    if prefix != "sway":
        typer.echo(f"export SWAY_TOPICS__PREFIX={prefix}")


def _print_schemas(standings: "Sequence[SubjectStatus]") -> None:
    """Print how to write the Confluent format, or the schemas that a registry with older data rejects."""
    problems = [f"{standing.subject}: {standing.problem}" for standing in standings if standing.problem]
    if problems:
        typer.echo("some schemas are not registered:\n" + "\n".join(problems), err=True)
    else:
        typer.echo("the current schemas are registered; to write the Confluent format, also set", err=True)
        typer.echo("export SWAY_WIRE__FORMAT=confluent", err=True)


def _create_topics(topics: TopicSettings, bootstrap_servers: str) -> None:
    planned = plan_topics(topics, topics.partitions, history=True)
    # The security settings do not apply: the embedded cluster has no authentication.
    cluster = Cluster(KafkaSettings(bootstrap_servers=bootstrap_servers))
    existing = cluster.view().partition_counts
    problems = find_problems(planned, existing)
    if problems:
        raise CommandError(
            f"the data folder does not match the settings: {'; '.join(problems)}. Restore SWAY_TOPICS__PARTITIONS, or "
            "use another folder"
        )
    cluster.create(missing(planned, existing), None)


def _report_download(what: str) -> Callable[[int, int, object], None]:
    def report(done: int, of: int, _what: object) -> None:
        if done == 0:
            typer.echo(
                f"downloading {what} from Maven Central: {of} {'files' if of > 1 else 'file'}", err=True
            )

    return report


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
