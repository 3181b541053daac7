"""Rendering of an explanation as tables, at most 80 columns wide."""

from datetime import UTC, datetime

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from model.influence import influence_of
from sway.explain.effects import BehaviourEffect, ScoreExplanation
from sway.untrusted import printable

NO_TEXT = "(left the window)"


def strongest_first(found: ScoreExplanation) -> list[BehaviourEffect]:
    """Return the behaviours by absolute effect, descending; the newest first among equals."""
    return sorted(found.behaviours, key=lambda one: (abs(one.effect), one.at_ms), reverse=True)


def heading(found: ScoreExplanation) -> str:
    """Return the event, its model version and its label, as text."""
    event = found.event
    label = "label not known yet" if event.y is None else f"label: {event.y:g}"
    return (
        f"{printable(event.event_id)} of {printable(event.user_id)}, {format_time(event.snapshot.at_ms)}: "
        f"{event.target}\nscored by {event.model_version}; {label}"
    )


def scores(found: ScoreExplanation) -> Table:
    """Return a table of published and recomputed scores."""
    table = _table("", "published", "recomputed")
    event, now = found.event, found.now
    published = influence_of(event.y_hat, event.z_hat, found.lam)
    for name, before, after in (
        ("y_hat", event.y_hat, now.y_hat),
        ("z_hat", event.z_hat, now.z_hat),
        ("influence", published, now.influence),
    ):
        table.add_row(name, f"{before:.4f}", f"{after:.4f}")
    return table


def behaviours(found: ScoreExplanation) -> Table:
    """Return a table of the past behaviours, the strongest effect first."""
    has_attention = found.now.attention is not None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("when", no_wrap=True)
    # Only this column is truncated to fit.
    table.add_column("behaviour")
    for name in ("outcome", "effect", *(["attention"] if has_attention else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for one in strongest_first(found):
        outcome = "" if one.grade is None else f"{one.grade:.2f}"
        weight = [] if one.attention is None else [f"{one.attention:.3f}"]
        text = Text(NO_TEXT if one.text is None else one.text, no_wrap=True, overflow="ellipsis")
        table.add_row(format_time(one.at_ms), text, outcome, f"{one.effect:+.4f}", *weight)
    return table


def notes(found: ScoreExplanation) -> list[str]:
    """Return remarks on the figures, one per line."""
    event, lines = found.event, []
    if found.version != event.model_version:
        lines.append(
            f"{event.model_version} is no longer in the registry: recomputed with the champion, {found.version}."
        )
    if not found.behaviours:
        lines.append("The user had no earlier behaviours.")
        return lines
    if found.missing_texts:
        lines.append(
            f"The texts of {found.missing_texts} behaviours are no longer stored. "
            + ("A zero vector replaces each." if found.now.attention is not None else "")
        )
    lines.append(
        "effect: the influence minus the influence without the behaviour. Item and partition counts are unchanged, "
        "because they include other users."
    )
    if found.now.attention is not None:
        none = 1 - sum(found.now.attention)
        lines.append(
            f"attention: the weight of each behaviour, averaged over heads; {none:.3f} went to no behaviour."
        )
    return lines


def format_time(at_ms: int) -> str:
    """Format a time in ms to the minute, in UTC; return the number if it is not a valid time."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return str(at_ms)


def _table(first: str, *figures: str) -> Table:
    table = Table(escape(first), box=box.SIMPLE_HEAD, pad_edge=False)
    for name in figures:
        table.add_column(name, justify="right")
    return table
