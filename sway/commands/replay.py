"""`sway replay`."""

import json as json_module
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stream.settings import Settings
from sway.cluster import Cluster
from sway.configuration import load_settings
from sway.errors import CommandError

if TYPE_CHECKING:
    from model.loading import Model
    from stream.replay.plan import ReplayPlan
    from stream.replay.sampling import Speed
    from stream.replay.session import ReplaySession

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def replay(
    from_: Annotated[
        str,
        typer.Option(
            "--from",
            help="Where to begin: a time, how long ago (7d), `oldest`, or offsets of partitions to do (0:120,1:98).",
        ),
    ] = "oldest",
    to: Annotated[
        str, typer.Option(help="Where to end, in the same words; `newest` is the end as of now.")
    ] = "newest",
    to_topic: Annotated[
        str | None, typer.Option(help="Write scores into this topic, dead letters and examples beside it.")
    ] = None,
    to_parquet: Annotated[Path | None, typer.Option(help="Write Parquet files into this folder.")] = None,
    with_labels: Annotated[
        bool, typer.Option("--with-labels", help="Rebuild the labelled examples too.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="The model's version [default: the champion].")] = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id", help="The replay's name: the same on every machine [default: from the output's name]."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    warm_up: Annotated[
        str,
        typer.Option(help="How much before the range is read for the users' windows: `all`, `none`, or 30d."),
    ] = "all",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Score a historical range again, with the live path's own code; nothing live is touched.

    Shows a plan first. Interrupted, it goes on at the last completed batch when the same command is given again; on
    several machines, give all of them the same command. `sway compare` compares what came out with other scores.

    Example: `sway replay --from 7d --to-parquet scores-again`, or
    `sway replay --model v7 --to-topic sway.scores.v7 --with-labels --workers 2`
    """
    settings = load_settings()
    if model is not None:
        settings.model.version = model
    asked = _Asked(from_, to, warm_up, to_topic, to_parquet, with_labels, id_)
    console = Console(stderr=True)
    cluster = Cluster(settings.kafka)
    partitions = cluster.view().partition_counts.get(settings.topics.events)
    if partitions is None:
        raise CommandError(f"there is no topic {settings.topics.events}: nothing was ever scored here")
    session = _session(settings, asked)

    from stream.assembly import load_champion
    from stream.worker.run import set_up_log
    from sway.replaying import show

    set_up_log(logging.WARNING)
    standing = session.standing(partitions)
    if standing is not None:
        session.check_output(*standing)
        console.print("begun before: the range that was planned then stands")
    if standing is not None and not dry_run and all(one.done for one in standing[1].values()):
        show.show_plan(console, standing[0], None, resumed=standing[1])
        _tell(console, show.summary(*standing, 0.0, standing[0].records), standing[0], json=json)
        return
    if standing is not None:
        settings.model.version = standing[0].model_version
    loaded = load_champion(settings)
    plan, progress = standing or (session.plan(loaded.version), {})
    # On the way, its past may be gone by now: what is left is not measured again.
    speed = _speed(session, plan, loaded) if standing is None else None
    show.show_plan(console, plan, speed, resumed=progress)
    if dry_run:
        return
    plan = _begin(cluster, session, plan, partitions, resumes=standing is not None)
    if plan.model_version != loaded.version:  # another machine was first, and planned with another champion
        settings.model.version = plan.model_version
        loaded = load_champion(settings)
    before = show.scored_offsets(plan, progress)
    model_here = loaded if workers == 1 else None
    del loaded  # several processes have one each, and this one none
    found = _run(console, session, plan, partitions, model_here, workers, before)
    _tell(console, found, plan, json=json)
    if not found["complete"]:
        raise typer.Exit(1)


def _run(
    console: Console,
    session: "ReplaySession",
    plan: "ReplayPlan",
    partitions: int,
    model: "Model | None",
    workers: int,
    before: int,
) -> dict[str, object]:
    """Work until it is done or stopped, here with a model, else in processes; return the summary.

    before: records that were done already.
    """
    from sway.replaying import show
    from sway.replaying.processes import Job, run_here, run_in_processes

    began = time.monotonic()
    job = Job(session.settings, session.request, plan, partitions)
    with show.progress_bar(console, plan) as on_report:
        done = run_here(job, model, on_report) if model else run_in_processes(job, workers, on_report)
    return show.summary(plan, done, time.monotonic() - began, before)


def _tell(console: Console, found: dict[str, object], plan: "ReplayPlan", *, json: bool) -> None:
    from sway.replaying.show import in_a_sentence

    console.print(in_a_sentence(found, plan))
    if json:
        typer.echo(json_module.dumps(found))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was written on the command line."""

    from_: str
    to: str
    warm_up: str
    topic: str | None
    parquet: Path | None
    with_labels: bool
    id_: str | None

    @property
    def replay_id(self) -> str:
        """The id that was given, or else the output's name."""
        found = self.id_ or self.topic or ("" if self.parquet is None else self.parquet.resolve().name)
        if not _ID.fullmatch(found):
            raise CommandError(
                f"{found!r} is no id for a replay: give one of letters, digits, . _ and - with --id"
            )
        return found


def _session(settings: Settings, asked: _Asked) -> "ReplaySession":
    """Return the session of what was asked for. Raises CommandError if that cannot be."""
    if asked.topic is None and asked.parquet is None:
        raise CommandError("say where the scores go: --to-topic, --to-parquet, or both")
    if asked.with_labels and not settings.labels.wanted:
        raise CommandError(
            "with these settings (SWAY_LABELS__...) no label can come: there is nothing to rebuild"
        )
    from stream.replay.session import ReplaySession, Request  # Faust and torch take seconds to import
    from sway.replaying.topics import check_name
    from sway.replaying.when import parse_bound, parse_duration_ms

    if asked.topic is not None:
        check_name(asked.topic, settings)
    now_ms = int(time.time() * 1000)
    words = {"all": None, "none": 0}
    request = Request(
        asked.replay_id,
        parse_bound(asked.from_, now_ms),
        parse_bound(asked.to, now_ms),
        asked.topic,
        None if asked.parquet is None else asked.parquet.resolve(),
        settings.model.version,
        asked.with_labels,
        words[asked.warm_up] if asked.warm_up in words else parse_duration_ms(asked.warm_up),
    )
    return ReplaySession(settings, request)


def _speed(session: "ReplaySession", plan: "ReplayPlan", model: "Model") -> "Speed":
    from stream.replay.sampling import measure

    labels = session.labels()
    with session.batcher(model) as batcher:
        return measure(session.inputs, plan, session.processor(model, labels), labels, batcher)


def _begin(
    cluster: Cluster, session: "ReplaySession", plan: "ReplayPlan", partitions: int, *, resumes: bool
) -> "ReplayPlan":
    """Return the plan that stands: this one, or that of another machine that was first."""
    try:
        _check_outputs(cluster, session, resumes=resumes)
    except CommandError:
        standing = None if resumes else session.standing(partitions)
        if standing is None:
            raise
        return standing[0]  # what lies there is the work of a machine that has just begun
    return plan if resumes else session.begin(plan, partitions)


def _check_outputs(cluster: Cluster, session: "ReplaySession", *, resumes: bool) -> None:
    """Make the topics, and refuse outputs that hold anything but this replay's."""
    from sway.replaying.topics import make_topics

    request, outputs = session.request, session.outputs()
    if request.topic is not None:
        make_topics(
            cluster, session.settings, request.topic, with_labels=request.with_labels, resumes=resumes
        )
    if outputs.parquet is not None and not resumes and outputs.parquet.holds_anything():
        raise CommandError(
            f"{request.parquet} holds the files of another replay: give another folder, or that replay's id (--id)"
        )
