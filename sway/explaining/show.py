"""An explanation as tables, 80 columns wide at most. Pure."""

from datetime import UTC, datetime

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from model.influence import influence_of
from sway.explaining.explained import Explained, Swayed
from sway.tailing.show import printable

GONE = "(left the window)"


def strongest_first(found: Explained) -> list[Swayed]:
    """Return the behaviours by how far they moved the score, the newest first among equals."""
    return sorted(found.behaviours, key=lambda one: (abs(one.effect), one.at_ms), reverse=True)


def heading(found: Explained) -> str:
    """Say which event it is, and what was known of it."""
    event = found.event
    label = "its label is not known yet" if event.y is None else f"its label: {event.y:g}"
    return (
        f"{printable(event.event_id)} of {printable(event.user_id)}, {time_words(event.snapshot.at_ms)}: "
        f"{event.target}\nscored by {event.model_version}; {label}"
    )


def scores(found: Explained) -> Table:
    """Return what was published beside what comes out now."""
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


def behaviours(found: Explained) -> Table:
    """Return a row for each behaviour of the past, the strongest first."""
    has_attention = found.now.attention is not None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("when", no_wrap=True)
    table.add_column("behaviour")  # the one that gives way, by its cells
    for name in ("outcome", "effect", *(["attention"] if has_attention else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for one in strongest_first(found):
        outcome = "" if one.grade is None else f"{one.grade:.2f}"
        weight = [] if one.attention is None else [f"{one.attention:.3f}"]
        words = Text(GONE if one.words is None else one.words, no_wrap=True, overflow="ellipsis")
        table.add_row(time_words(one.at_ms), words, outcome, f"{one.effect:+.4f}", *weight)
    return table


def notes(found: Explained) -> list[str]:
    """Return what a reader should know of the figures."""
    event, told = found.event, []
    if found.version != event.model_version:
        told.append(
            f"{event.model_version} is not in the registry any more: recomputed by the champion, {found.version}."
        )
    if not found.behaviours:
        told.append("Nothing was known of the user before it.")
        return told
    if found.gone:
        told.append(
            f"The words of {found.gone} behaviours are gone. "
            + ("A text like no other stands for each." if found.now.attention is not None else "")
        )
    told.append(
        "effect: the influence less what it would be without the behaviour. Sums of items and of the partition stay: "
        "they are other people's too."
    )
    if found.now.attention is not None:
        none = 1 - sum(found.now.attention)
        told.append(f"attention: the share of each, the mean over heads; {none:.3f} went to no behaviour.")
    return told


def time_words(at_ms: int) -> str:
    """Return a time to the minute, in UTC, or the number if it is beyond the year 9999 or none."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return str(at_ms)


def _table(first: str, *figures: str) -> Table:
    table = Table(escape(first), box=box.SIMPLE_HEAD, pad_edge=False)
    for name in figures:
        table.add_column(name, justify="right")
    return table
