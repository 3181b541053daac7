"""`sway topics create`."""

from typing import Annotated

import typer

from sway.cluster import Cluster
from sway.configuration import load_settings
from sway.errors import CommandError
from sway.topic_plan import KEEP_FOR_EVER, find_problems, missing, plan_topics

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
        int | None, typer.Option(min=1, help="Replicas of each partition [default: one a broker, at most 3].")
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
    cluster.create(new, replication)
    for plan in planned:
        state = "created" if plan in new else "exists "
        if plan not in new and plan.config == KEEP_FOR_EVER and cluster.retention_ms(plan.name) is not None:
            cluster.keep_for_ever(plan.name)
            state = "changed"
        kept = ", kept for ever" if plan.config == KEEP_FOR_EVER else ""
        typer.echo(f"{state}  {plan.name}: partitions {plan.partitions}{kept}")
