"""The plan, the progress bar and the summary in the terminal."""

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
from sway.replaying.when import in_words


class OnReport(Protocol):
    """Called with how far a worker is."""

    def __call__(self, worker: int, report: Report) -> None:
        """Take it in."""
        ...


def show_plan(
    console: Console, plan: ReplayPlan, speed: Speed | None, *, resumed: Mapping[int, PartitionProgress]
) -> None:
    """Show what will be read and scored, in which order, and how long that takes."""
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
    console.print(_order_in_words(plan))
    if any(part.may_lack_a_past for part in plan.partitions.values()):
        console.print(
            "What is before the oldest offset read is not there: users whose window may reach that far are counted, "
            "and counts of items begin there"
        )
    if not resumed:
        console.print(_time_in_words(plan, speed))


def _order_in_words(plan: ReplayPlan) -> str:
    read = sum(part.warm_up.size + part.scored.size for part in plan.partitions.values())
    known = sum(part.known_events for part in plan.partitions.values())
    if not any(part.outcomes.size for part in plan.partitions.values()):
        return "no outcomes"
    if not known:
        return "outcomes enter by time: no old scores tell when they were read"
    if known >= read:
        return "outcomes enter where they did live: the old scores tell (outcomes_next)"
    return (
        f"outcomes enter where they did live for {known / read:.0%} of the events, whose old scores tell; by time for "
        "the others"
    )


def _time_in_words(plan: ReplayPlan, speed: Speed | None) -> str:
    seconds = None if speed is None else speed.seconds_for(plan)
    if speed is None or seconds is None:
        return "estimated time: too few records to measure"
    return (
        f"estimated time: {in_words(seconds)} with one process (measured here, on events of the range: "
        f"{speed.scored_per_s:,.0f} scored a second, {speed.read_per_s:,.0f} read a second)"
    )


@contextmanager
def progress_bar(console: Console, plan: ReplayPlan) -> Iterator[OnReport]:
    """Show a bar over all partitions and machines while the block runs; gives what is called with reports."""
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
            what = f"reading the past: {learnt:,}" if learnt and not done else "scoring"
            bars.update(task, completed=min(done, plan.records), description=what, rate=f"{rate:,.0f}/s")

        yield show


def scored_offsets(plan: ReplayPlan, partitions: Mapping[int, PartitionProgress]) -> int:
    """Return how many offsets of the ranges are done."""
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
    """Return what a replay came to. before: records that were done when this run began."""
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


def in_a_sentence(found: Mapping[str, object], plan: ReplayPlan) -> str:
    """Return the summary in words."""
    words = [
        f"replay {found['replay_id']}: {found['scores']:,} scores and {found['dead_letters']:,} dead letters",
        f"{found['examples']:,} examples" if plan.with_labels else "",
        f"{found['users_past_retention']:,} users whose window may reach past retention"
        if any(part.may_lack_a_past for part in plan.partitions.values())
        else "",
        f"{found['records_per_s']:,.0f} records/s in {in_words(float(str(found['seconds'])))}",
    ]
    state = "" if found["complete"] else "; not complete: the same command goes on from here"
    return "; ".join(word for word in words if word) + state
