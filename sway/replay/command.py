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
            help="Start: a time, an age such as 7d, `oldest`, or PARTITION:OFFSET,… for some partitions only.",
        ),
    ] = "oldest",
    to: Annotated[
        str, typer.Option(help="End, in the same form; `newest` is the current end of the topic.")
    ] = "newest",
    to_topic: Annotated[
        str | None,
        typer.Option(help="Write scores to this topic; dead letters and examples get their own topics."),
    ] = None,
    to_parquet: Annotated[Path | None, typer.Option(help="Write Parquet files to this folder.")] = None,
    with_labels: Annotated[
        bool, typer.Option("--with-labels", help="Also rebuild the labelled examples.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Model version [default: the champion].")] = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id", help="Id of the replay, the same on every machine [default: the name of the output]."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes on this machine.")] = 1,
    warm_up: Annotated[
        str,
        typer.Option(
            help="Input before the range to rebuild user windows from: `all`, `none`, or a duration such as 30d."
        ),
    ] = "all",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, but score nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Score a historical range again.

    Uses the code of the live path, and shows a plan first. Live topics, offsets and state are not changed. To resume
    an interrupted replay at its last completed batch, repeat the command; to use several machines, run the same
    command on each. `sway compare` compares the result with other scores.

    Example: `sway replay --from 7d --to-parquet scores-again`, or
    `sway replay --model v7 --to-topic sway.scores.v7 --with-labels --workers 2`
    """
    settings = load_settings()
    if model is not None:
        settings.model.version = model
    arguments = _Arguments(from_, to, warm_up, to_topic, to_parquet, with_labels, id_)
    console = Console(stderr=True)
    cluster = Cluster(settings.kafka)
    partitions = cluster.view().partition_counts.get(settings.topics.events)
    if partitions is None:
        raise CommandError(f"there is no topic {settings.topics.events}: this cluster has no events to score")
    session = _session(settings, arguments)

    from stream.assembly import load_champion
    from stream.log import set_up_log
    from sway.replay import show

    set_up_log(logging.WARNING)
    standing = session.standing(partitions)
    if standing is not None:
        session.check_output(*standing)
        console.print("resuming: the range of the existing plan applies")
    if standing is not None and not dry_run and all(one.done for one in standing[1].values()):
        show.show_plan(console, standing[0], None, resumed=standing[1])
        _print_summary(console, show.summary(*standing, 0.0, standing[0].records), standing[0], json=json)
        return
    if standing is not None:
        settings.model.version = standing[0].model_version
    loaded = load_champion(settings)
    plan, progress = standing or (session.plan(loaded.version), {})
    # A resumed replay is not measured: retention may have deleted the records before its range.
    speed = _speed(session, plan, loaded) if standing is None else None
    show.show_plan(console, plan, speed, resumed=progress)
    if dry_run:
        return
    plan = _begin(cluster, session, plan, partitions, resumes=standing is not None)
    # Another machine began first and planned with another champion.
    if plan.model_version != loaded.version:
        settings.model.version = plan.model_version
        loaded = load_champion(settings)
    before = show.scored_offsets(plan, progress)
    model_here = loaded if workers == 1 else None
    # Each of several processes loads its own model; this process needs none.
    del loaded
    found = _run(console, session, plan, partitions, model_here, workers, before)
    _print_summary(console, found, plan, json=json)
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
    """Score until done or stopped, and return the summary; in this process with a model, else in child processes.

    before: number of records scored by earlier runs.
    """
    from sway.replay import show
    from sway.replay.processes import Job, run_here, run_in_processes

    began = time.monotonic()
    job = Job(session.settings, session.request, plan, partitions)
    with show.progress_bar(console, plan) as on_report:
        done = run_here(job, model, on_report) if model else run_in_processes(job, workers, on_report)
    return show.summary(plan, done, time.monotonic() - began, before)


def _print_summary(console: Console, found: dict[str, object], plan: "ReplayPlan", *, json: bool) -> None:
    from sway.replay.show import as_text

    console.print(as_text(found, plan))
    if json:
        typer.echo(json_module.dumps(found))


@dataclass(frozen=True, slots=True)
class _Arguments:
    """The arguments of the command line."""

    from_: str
    to: str
    warm_up: str
    topic: str | None
    parquet: Path | None
    with_labels: bool
    id_: str | None

    @property
    def replay_id(self) -> str:
        """The given id, else the name of the output. Raises CommandError if it is invalid."""
        found = self.id_ or self.topic or ("" if self.parquet is None else self.parquet.resolve().name)
        if not _ID.fullmatch(found):
            raise CommandError(
                f"{found!r} is not a valid replay id: give one of letters, digits, . _ and - with --id"
            )
        return found


def _session(settings: Settings, arguments: _Arguments) -> "ReplaySession":
    """Return the session for the arguments. Raises CommandError if they are invalid."""
    if arguments.topic is None and arguments.parquet is None:
        raise CommandError("no output given: use --to-topic, --to-parquet, or both")
    if arguments.with_labels and not settings.labels.wanted:
        raise CommandError(
            "labels are disabled by the settings (SWAY_LABELS__...): there are no examples to rebuild"
        )
    # Imported here because Faust and torch take seconds to import.
    from stream.replay.session import ReplaySession, Request
    from sway.replay.bounds import parse_bound, parse_duration_ms
    from sway.replay.topics import check_name

    if arguments.topic is not None:
        check_name(arguments.topic, settings)
    now_ms = int(time.time() * 1000)
    words = {"all": None, "none": 0}
    request = Request(
        arguments.replay_id,
        parse_bound(arguments.from_, now_ms),
        parse_bound(arguments.to, now_ms),
        arguments.topic,
        None if arguments.parquet is None else arguments.parquet.resolve(),
        settings.model.version,
        arguments.with_labels,
        words[arguments.warm_up] if arguments.warm_up in words else parse_duration_ms(arguments.warm_up),
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
    """Return the plan that applies: this one, or that of another machine that began first."""
    try:
        _check_outputs(cluster, session, resumes=resumes)
    except CommandError:
        standing = None if resumes else session.standing(partitions)
        if standing is None:
            raise
        # The existing output belongs to a machine that has just begun this replay.
        return standing[0]
    return plan if resumes else session.begin(plan, partitions)


def _check_outputs(cluster: Cluster, session: "ReplaySession", *, resumes: bool) -> None:
    """Create the topics. Raises CommandError if an output holds records of another replay."""
    from sway.replay.topics import make_topics

    request, outputs = session.request, session.outputs()
    if request.topic is not None:
        make_topics(
            cluster, session.settings, request.topic, with_labels=request.with_labels, resumes=resumes
        )
    if outputs.parquet is not None and not resumes and outputs.parquet.holds_anything():
        raise CommandError(
            f"{request.parquet} holds the files of another replay: give another folder, or that replay's id with --id"
        )
