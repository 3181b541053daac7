"""Rendering of a comparison as JSON or as tables."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from model.metrics import THRESHOLD
from sway.compare.comparison import Comparison, Run, Unmatched
from sway.compare.differences import Bin
from sway.compare.labels import Labelled
from sway.compare.scores import Coordinates
from sway.untrusted import printable

_BAR = 40
_HOW_TO_LABEL = (
    "no labels, so no AUC: use --labels with an examples topic, or Parquet files with y, event_id and user_id"
)


def as_json(found: Comparison) -> str:
    """Return the fields of Comparison and "agrees" (null without a limit) as JSON; NaN and infinity become null."""
    agrees = None if found.influence_limit is None else found.agrees
    return json.dumps(_finite(asdict(found) | {"agrees": agrees}), indent=2, allow_nan=False)


def as_tables(found: Comparison) -> Iterator[RenderableType]:
    """Yield the parts of the terminal output, from the verdict to the largest changes."""
    yield Text(_verdict(found), style="bold")
    yield _runs(found)
    yield Text("\n".join(_counts(found)))
    yield _moved(found)
    yield _histogram(found.histogram)
    yield Text("\n".join(_ranks(found)))
    yield from _auc(found.labelled)
    if found.movers:
        yield _movers(found)
    if found.influence_limit is not None:
        yield Text(_limit(found), style="green" if found.agrees else "bold red")


def _verdict(found: Comparison) -> str:
    alone = found.only_a.count + found.only_b.count + found.other_event.count
    if found.identical == found.both:
        verdict = f"identical: all {found.both:,} scores in both runs are bitwise equal"
    elif found.within_tolerance == found.both:
        verdict = f"equal within {found.tolerance:g}: all {found.both:,} scores in both runs"
    else:
        moved = found.both - found.within_tolerance
        verdict = f"different: {moved:,} of {found.both:,} scores differ by more than {found.tolerance:g}"
    return f"{verdict}; {alone:,} without a counterpart" if alone else verdict


def _runs(found: Comparison) -> Table:
    table = _table("", "A", "B")
    runs = (found.a, found.b)
    table.add_row("run", *(Text(printable(run.run), overflow="fold") for run in runs))
    table.add_row("scores", *(_scores(run) for run in runs))
    table.add_row("model versions", *(Text(_frequent(run.model_versions), overflow="fold") for run in runs))
    table.add_row("dtypes", *(Text(_frequent(run.dtypes)) for run in runs))
    return table


def _scores(run: Run) -> str:
    return f"{run.scores:,}" + (
        f" ({run.repeated:,} more were replaced by later ones)" if run.repeated else ""
    )


def _frequent(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return printable(*counts)
    return "\n".join(f"{printable(word)} ({count:,})" for word, count in counts.items())


def _counts(found: Comparison) -> Iterator[str]:
    yield f"in both: {found.both:,}"
    for name, unmatched in (("only in A", found.only_a), ("only in B", found.only_b)):
        yield f"{name}: {_unmatched(unmatched)}"
    if found.other_event.count:
        yield f"same offset, different event: {_unmatched(found.other_event)}"
    yield f"identical: {_share(found.identical, found.both)}"
    yield f"within {found.tolerance:g}: {_share(found.within_tolerance, found.both)}"
    flags = asdict(found.flags)
    yield "flags that differ: " + ", ".join(f"{name} {count:,}" for name, count in flags.items())


def _unmatched(unmatched: Unmatched) -> str:
    shown = ", ".join(_where(one) for one in unmatched.examples)
    more = ", …" if unmatched.count > len(unmatched.examples) else ""
    return f"{unmatched.count:,}" + (f" ({shown}{more})" if shown else "")


def _moved(found: Comparison) -> Table:
    columns = {"influence": found.influence, "y_hat": found.y_hat, "z_hat": found.z_hat}
    all_moved = columns.values()
    table = _table("", *columns)
    table.add_row("mean of A", *(_number(one.mean_a) for one in all_moved))
    table.add_row("mean of B", *(_number(one.mean_b) for one in all_moved))
    table.add_row("mean of B-A", *(_size(one.mean, "+") for one in all_moved))
    table.add_row("mean of |B-A|", *(_size(one.mean_abs) for one in all_moved))
    for name in ("p50", "p90", "p99", "max"):
        table.add_row(f"{name} of |B-A|", *(_size(getattr(one, name)) for one in all_moved))
    if any(one.not_comparable for one in all_moved):
        table.add_row("not comparable", *(f"{one.not_comparable:,}" for one in all_moved))
    return table


def _histogram(bins: list[Bin]) -> Table:
    table = _table("influence B-A", "scores", "")
    table.columns[2].justify = "left"
    most = max(one.count for one in bins) or 1
    for one in bins:
        table.add_row(_range(one), f"{one.count:,}", "█" * math.ceil(one.count / most * _BAR))
    return table


def _range(one: Bin) -> str:
    if one.low < 0 < one.high:
        return f"up to ±{one.high:g}"
    if math.isinf(one.low):
        return f"below {one.high:g}"
    if math.isinf(one.high):
        return f"over +{one.low:g}"
    return f"{one.low:g} to {one.high:g}" if one.high <= 0 else f"+{one.low:g} to +{one.high:g}"


def _ranks(found: Comparison) -> Iterator[str]:
    ranks = found.spearman
    yield f"rank correlation of influence (Spearman): {_number(ranks.all) or 'not defined'}"
    if ranks.users:
        yield f"  within users, mean of {ranks.users:,}: {_number(ranks.within_users)}"
    else:
        yield "  within users: no user has enough distinct scores"


def _auc(labelled: Labelled | None) -> Iterator[RenderableType]:
    if not labelled:
        yield Text(_HOW_TO_LABEL)
        return
    source = printable(labelled.source)
    if not labelled.pairs:
        yield Text(f"no label of {source} is for an event in both runs, so no AUC")
        return
    table = _table("AUC", "A", "B", "B-A")
    for name, one in (("y_hat", labelled.y_hat), ("influence", labelled.influence)):
        moved = one.b - one.a
        table.add_row(name, _number(one.a), _number(one.b), f"{moved:+.4f}" if math.isfinite(moved) else "")
    yield table
    positive = f"{labelled.positive:,} of them positive (y >= {THRESHOLD:g})"
    yield Text(f"labels: {labelled.pairs:,} scores, {positive}, from {source}")


def _movers(found: Comparison) -> Table:
    table = _table("largest changes", "user", "item", "source", "A", "B", "B-A")
    for column in table.columns[:4]:
        column.justify, column.overflow = "left", "fold"
    for one in found.movers:
        table.add_row(
            *(Text(printable(word)) for word in (one.event_id, one.user_id, one.item_id)),
            Text(_where(one.source)),
            *(_number(value) or "NaN" for value in (one.a, one.b)),
            f"{one.b - one.a:+.4f}",
        )
    return table


def _limit(found: Comparison) -> str:
    alone = found.only_a.count + found.only_b.count + found.other_event.count
    return (
        f"{'within' if found.agrees else 'NOT within'} --fail-over {found.influence_limit:g}: {found.influence_over:,} "
        f"over the limit, {alone:,} without a counterpart"
    )


def _table(*headers: str) -> Table:
    table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _where(one: Coordinates) -> str:
    return f"{printable(one.topic)}[{one.partition}]@{one.offset}"


def _share(part: int, whole: int) -> str:
    percent = f"{part / whole:.2%}"
    if percent == "100.00%" and part < whole:
        percent = "over 99.99%"
    if percent == "0.00%" and part:
        percent = "under 0.01%"
    return f"{part:,} ({percent})"


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""


def _size(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3g}" if math.isfinite(value) else ""


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
