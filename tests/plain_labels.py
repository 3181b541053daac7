"""The contract of the label join, said plainly: dictionaries, one record after the other. Tests compare with it."""

from collections.abc import Iterable

from schemas.records import BehaviorEvent, Outcome
from stream.labels.rules import JoinSettings

Joined = tuple[Outcome, str]
"""An outcome that closed its event, and the event's item."""

Label = tuple[str, float, float | None]


class PlainLabels:
    """Explicit outcomes only, and nothing falls due."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], BehaviorEvent] = {}
        self.parked: dict[tuple[str, str], Outcome] = {}
        self.closed: set[tuple[str, str]] = set()
        self.joined: list[tuple[str, str, float, float | None]] = []

    def event(self, one: BehaviorEvent) -> Joined | None:
        """Let an event wait; or return the outcome that waited for it."""
        key = (one.user_id, one.event_id)
        if key in self.open or key in self.closed:
            return None
        self.open[key] = one
        return self._close(self.parked.pop(key)) if key in self.parked else None

    def outcome(self, one: Outcome) -> Joined | None:
        """Close an event, or let the outcome wait for it."""
        key = (one.user_id, one.event_id)
        if key in self.open:
            return self._close(one)
        if key not in self.closed:
            self.parked.setdefault(key, one)
        return None

    def _close(self, one: Outcome) -> Joined:
        key = (one.user_id, one.event_id)
        self.closed.add(key)
        self.joined.append((one.user_id, one.event_id, one.y, one.z))
        return one, self.open.pop(key).item_id


def labels_of(
    events: Iterable[BehaviorEvent], outcomes: Iterable[Outcome], settings: JoinSettings
) -> set[Label]:
    """Return the label of each event, by the definition: from everything that ever happened, by event times alone."""
    known = {(one.user_id, one.event_id): one for one in events}
    told = {
        (one.user_id, one.event_id): one
        for one in outcomes
        if (one.user_id, one.event_id) in known
        and one.observed_at - known[one.user_id, one.event_id].occurred_at <= settings.horizon_ms
    }
    labels: set[Label] = set()
    for key, one in known.items():
        if key in told:
            labels.add((one.event_id, told[key].y, told[key].z))
            continue
        later = [
            (other.occurred_at - one.occurred_at, other.action)
            for other in known.values()
            if one.item_id and (other.user_id, other.item_id) == (one.user_id, one.item_id)
        ]
        fits = [
            rule.y
            for rule in settings.rules
            if rule.action == one.action
            and any(action == rule.by and 0 < after <= rule.within_ms for after, action in later)
        ]
        y = fits[0] if fits else settings.negative
        if y is not None:
            strengths = [
                settings.weights.get(action, 0.0)
                for after, action in later
                if 0 < after <= settings.horizon_ms
            ]
            labels.add((one.event_id, y, max([0.0, *strengths]) if settings.weights else None))
    return labels
