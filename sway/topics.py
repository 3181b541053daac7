"""`sway topics create`."""

from typing import Annotated

import typer

from sway.cluster import Cluster
from sway.configuration import load_settings
from sway.errors import CommandError
from sway.topic_plan import find_problems, missing, plan_topics

app = typer.Typer(no_args_is_help=True, help="Create Sway's topics.")


@app.callback()
def _group() -> None:
    """Make `topics` a group although it has only one command."""


@app.command()
def create(
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1, help="Partitions of each topic keyed by user [default: SWAY_TOPICS__PARTITIONS]."
        ),
    ] = None,
    replication: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Replicas of each partition [default: SWAY_TOPICS__REPLICATION, else one per broker, at most 3].",
        ),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Set unlimited retention, also on existing topics.")
    ] = False,
) -> None:
    """Create missing topics.

    The command is safe to repeat. If a topic exists with another partition count, the command fails and creates
    nothing. The partition count determines the partition of each user, so adding partitions later would separate users
    from their state.

    Use `--history` before you load old records: Kafka deletes records older than the topic's retention, by default
    one week, as soon as they arrive.

    The brokers reject events and outcomes more than SWAY_TOPICS__MAX_AHEAD_S ahead of their clock.

    Example: `sway topics create --partitions 12 --history`
    """
    settings = load_settings()
    planned = plan_topics(settings.topics, partitions or settings.topics.partitions, history=history)
    cluster = Cluster(settings.kafka)
    existing = cluster.view().partition_counts
    problems = find_problems(planned, existing)
    if problems:
        raise CommandError(
            f"nothing was created: {'; '.join(problems)}. Give the existing count with `--partitions`, or another "
            "prefix with SWAY_TOPICS__PREFIX"
        )
    new = missing(planned, existing)
    unlimited = cluster.create(new, replication or settings.topics.replication)
    for plan in planned:
        state = "created" if plan in new else "exists "
        if plan not in new and plan.has_unlimited_retention and cluster.retention_ms(plan.name) is not None:
            cluster.remove_retention(plan.name)
            state = "changed"
        kept = ", unlimited retention" if plan.has_unlimited_retention else ""
        typer.echo(f"{state}  {plan.name}: partitions {plan.partitions}{kept}")
    if unlimited:
        typer.echo(
            f"{' and '.join(unlimited)} accept records with any timestamp: these brokers cannot reject timestamps in "
            "the future (Kafka 3.6 and later can)",
            err=True,
        )
