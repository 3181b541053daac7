"""Terminal output of a replay: plan, progress bar and summary."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from stream.replay.plan import COUNTS, ReplayPlan
from stream.replay.plan import Progress as PartitionProgress
from stream.replay.runner import Report
from stream.replay.sampling import Speed
from sway.replay.bounds import format_duration


class OnReport(Protocol):
    """A callback for the progress of a worker."""

    def __call__(self, worker: int, report: Report) -> None:
        """Handle the report of a worker."""
        ...


def show_plan(
    console: Console, plan: ReplayPlan, speed: Speed | None, *, resumed: Mapping[int, PartitionProgress]
) -> None:
    """Print the ranges to read and score, the order of outcomes, and the estimated time."""
    table = Table(title=f"replay {plan.replay_id}", title_justify="left")
    for name in ("partition", "read before", "scored", "records", "read after", "outcomes", "done"):
        table.add_column(name, justify="right")
    for number, part in plan.partitions.items():
        scored, progress = part.scored, resumed.get(number)
        done = min(progress.events_next, scored.end) - scored.start if progress is not None else 0
        table.add_row(
            str(number),
            f"{part.warm_up.size:,}",
            f"{scored.start:,} to {scored.end:,}",
            f"{scored.size:,}",
            f"{part.run_out.size:,}",
            f"{part.outcomes.size:,}",
            f"{done:,}",
        )
    console.print(table)
    console.print(f"model {plan.model_version}; {plan.records:,} records to score, into {plan.outputs}")
    console.print(_outcome_order(plan))
    if any(part.may_lack_a_past for part in plan.partitions.values()):
        console.print(
            "Records before the oldest offset read are no longer stored: users whose window may reach further back are "
            "counted, and item counts start there"
        )
    if not resumed:
        console.print(_estimated_time(plan, speed))


def _outcome_order(plan: ReplayPlan) -> str:
    read = sum(part.warm_up.size + part.scored.size for part in plan.partitions.values())
    known = sum(part.known_events for part in plan.partitions.values())
    if not any(part.outcomes.size for part in plan.partitions.values()):
        return "no outcomes"
    if not known:
        return "outcomes are ordered by time: no stored scores show when they were read"
    if known >= read:
        return "outcomes are ordered as in the live run, as recorded in its scores (outcomes_next)"
    return (
        f"outcomes are ordered as in the live run for the {known / read:.0%} of events whose scores are stored, and by "
        "time for the others"
    )


def _estimated_time(plan: ReplayPlan, speed: Speed | None) -> str:
    seconds = None if speed is None else speed.seconds_for(plan)
    if speed is None or seconds is None:
        return "estimated time: too few records to measure"
    return (
        f"estimated time: {format_duration(seconds)} with one process (measured on events of the range: "
        f"{speed.scored_per_s:,.0f} scored/s, {speed.read_per_s:,.0f} read/s)"
    )


@contextmanager
def progress_bar(console: Console, plan: ReplayPlan) -> Iterator[OnReport]:
    """Show one progress bar for all partitions and machines. Yields the callback for reports."""
    began, at_first = time.monotonic(), None
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bars:
        task = bars.add_task("scoring", total=plan.records, rate="")
        newest: dict[int, Report] = {}

        def show(worker: int, report: Report) -> None:
            nonlocal at_first
            newest[worker] = report
            done = scored_offsets(plan, report.partitions) + sum(one.ahead for one in newest.values())
            at_first = done if at_first is None else at_first
            rate = (done - at_first) / max(time.monotonic() - began, 0.001)
            learnt = sum(one.learnt for one in newest.values())
            what = f"warming up: {learnt:,}" if learnt and not done else "scoring"
            bars.update(task, completed=min(done, plan.records), description=what, rate=f"{rate:,.0f}/s")

        yield show


def scored_offsets(plan: ReplayPlan, partitions: Mapping[int, PartitionProgress]) -> int:
    """Return the number of completed offsets in the scored ranges."""
    return sum(
        max(
            0,
            min(progress.events_next, plan.partitions[number].scored.end)
            - plan.partitions[number].scored.start,
        )
        for number, progress in partitions.items()
    )


def summary(
    plan: ReplayPlan, partitions: Mapping[int, PartitionProgress], seconds: float, before: int
) -> dict[str, object]:
    """Return the summary of a replay. before: number of records completed by earlier runs."""
    counts = {name: sum(one.counts.get(name, 0) for one in partitions.values()) for name in COUNTS}
    done = scored_offsets(plan, partitions)
    return {
        "replay_id": plan.replay_id,
        "model_version": plan.model_version,
        "complete": bool(partitions) and all(one.done for one in partitions.values()),
        "records": plan.records,
        "done": done,
        **counts,
        "seconds": round(seconds, 3),
        "records_per_s": round((done - before) / max(seconds, 0.001), 1),
    }


def as_text(found: Mapping[str, object], plan: ReplayPlan) -> str:
    """Return the summary as text."""
    words = [
        f"replay {found['replay_id']}: {found['scores']:,} scores and {found['dead_letters']:,} dead letters",
        f"{found['examples']:,} examples" if plan.with_labels else "",
        f"{found['users_past_retention']:,} users whose window may reach past retention"
        if any(part.may_lack_a_past for part in plan.partitions.values())
        else "",
        f"{found['records_per_s']:,.0f} records/s in {format_duration(float(str(found['seconds'])))}",
    ]
    state = "" if found["complete"] else "; not complete: repeat the command to resume"
    return "; ".join(word for word in words if word) + state
