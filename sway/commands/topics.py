"""`sway topics create`."""

from typing import Annotated

import typer

from sway.cluster import Cluster
from sway.configuration import load_settings
from sway.errors import CommandError
from sway.topic_plan import find_problems, missing, plan_topics

app = typer.Typer(no_args_is_help=True, help="Create the topics that Sway needs.")


@app.callback()
def _group() -> None:
    """Keep `topics` a group while it has one command."""


@app.command()
def create(
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions of each topic that has a user as its key.")
    ] = None,
    replication: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Replicas of each partition [default: SWAY_TOPICS__REPLICATION, or one a broker, at most 3].",
        ),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Keep records for ever, also those that are old already.")
    ] = False,
) -> None:
    """Create the topics that are missing; may be run again.

    A topic that exists with another partition count is an error, and then nothing is created: users live in
    partitions by their count, and adding partitions later moves them away from their state.

    Use `--history` before old records are replayed: Kafka deletes at once what is older than a topic's
    retention, a week by default. It also changes topics that are there.

    Events and outcomes that are more than SWAY_TOPICS__MAX_AHEAD_S ahead of the broker's clock are refused.

    Example: `sway topics create --partitions 12 --history`
    """
    settings = load_settings()
    planned = plan_topics(settings.topics, partitions or settings.topics.partitions, history=history)
    cluster = Cluster(settings.kafka)
    existing = cluster.view().partition_counts
    problems = find_problems(planned, existing)
    if problems:
        raise CommandError(
            f"nothing was created: {'; '.join(problems)}. Give `--partitions` as they are, or another prefix "
            "with SWAY_TOPICS__PREFIX"
        )
    new = missing(planned, existing)
    unlimited = cluster.create(new, replication or settings.topics.replication)
    for plan in planned:
        state = "created" if plan in new else "exists "
        if plan not in new and plan.kept_for_ever and cluster.retention_ms(plan.name) is not None:
            cluster.keep_for_ever(plan.name)
            state = "changed"
        kept = ", kept for ever" if plan.kept_for_ever else ""
        typer.echo(f"{state}  {plan.name}: partitions {plan.partitions}{kept}")
    if unlimited:
        typer.echo(
            f"{' and '.join(unlimited)} take records of any time: these brokers cannot refuse those from the future "
            "(Kafka can since 3.6)",
            err=True,
        )
