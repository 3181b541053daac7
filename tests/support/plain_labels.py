"""A reference implementation of the label join: dictionaries, one record after the other."""

from collections.abc import Iterable

from schemas.records import BehaviorEvent, Outcome
from stream.scoring.labels.rules import JoinSettings

Joined = tuple[Outcome, str]
"""An outcome that was joined with its event, and the event's item."""

Label = tuple[str, float, float | None]


class PlainLabels:
    """A label join with explicit outcomes only, in which no event expires."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], BehaviorEvent] = {}
        self.parked: dict[tuple[str, str], Outcome] = {}
        self.closed: set[tuple[str, str]] = set()
        self.joined: list[tuple[str, str, float, float | None]] = []

    def event(self, one: BehaviorEvent) -> Joined | None:
        """Open an event, or return the parked outcome that closes it."""
        key = (one.user_id, one.event_id)
        if key in self.open or key in self.closed:
            return None
        self.open[key] = one
        return self._close(self.parked.pop(key)) if key in self.parked else None

    def outcome(self, one: Outcome) -> Joined | None:
        """Close an event, or park the outcome until its event arrives."""
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
    """Return the label of each event by definition: from all events and outcomes, by event times alone."""
    known = {(one.user_id, one.event_id): one for one in events}
    in_time = {
        (one.user_id, one.event_id): one
        for one in outcomes
        if (one.user_id, one.event_id) in known
        and one.observed_at - known[one.user_id, one.event_id].occurred_at <= settings.horizon_ms
    }
    labels: set[Label] = set()
    for key, one in known.items():
        if key in in_time:
            labels.add((one.event_id, in_time[key].y, in_time[key].z))
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


class PlainStreamTime:
    """Stream time by definition: recomputed at each record from the list of all records read."""

    def __init__(self, settings: JoinSettings, before: int = 0) -> None:
        """before: the stream time in state of a version without witnesses; 0 without one."""
        self._step_ms = max(settings.grace_ms, 60_000)
        self._wait_ms = settings.horizon_ms + settings.grace_ms
        self._records: list[tuple[object, int]] = [("the past", before)] if before else []
        self._at = before

    def read(self, user: object, time_ms: int) -> int:
        """Read a record; return stream time after it."""
        users_before = {one for one, _time in self._records}
        self._records.append((user, time_ms))
        users = users_before | {user}
        if len(users) == 1:
            self._at = max(self._at, time_ms)
        elif len(users_before) == 1:
            common = min(self._newest().values())
            self._at = common if self._at - common > self._step_ms else self._at
        if self._at < time_ms <= self._at + self._step_ms:
            self._at = time_ms
        elif time_ms > self._at:
            self._at = max(self._at, self._majority_time())
        return self._at

    def tick(self, time_ms: int) -> int:
        """Read a tick; return stream time after it."""
        if self._at < time_ms <= self._at + self._step_ms:
            self._at = time_ms
        return self._at

    def _turns(self) -> list[list[tuple[object, int]]]:
        turns: list[list[tuple[object, int]]] = []
        for user, time_ms in self._records:
            if turns and turns[-1][0][0] == user and (time_ms - turns[-1][0][1]) * 15 <= self._wait_ms:
                turns[-1].append((user, time_ms))
            else:
                turns.append([(user, time_ms)])
        return turns[-16:]

    def _newest(self) -> dict[object, int]:
        return {user: time_ms for turn in self._turns() for user, time_ms in turn}

    def _majority_time(self) -> int:
        """Return the latest time reached by more than half of the users of the newest turns."""
        times = list(self._newest().values())
        if len(times) == 1 and len(self._turns()) < 16:
            return 0
        return max(one for one in times if 2 * sum(other >= one for other in times) > len(times))
