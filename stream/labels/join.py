"""The label join of one partition: events and outcomes in, closings out. Pure.

An event waits until an outcome closes it at once, or until it falls due: then the rules look at what the user did
with the item since, and the configured negative is the last word. All decisions go by event times, so that within
the grace any order of arrival gives the same labels; stream time only says when nothing more can come.

A label and its example are two things. The label is known when the event closes. The example is written at once only
where every label is an outcome's. Where events also get labels when they fall due, each example waits until its event
is due: else those that close early, nearly always the positives, would be written a horizon before the negatives of
the same time. So examples are written in the order in which their events were read, whatever their labels.

What falls due stands in due lists, nearly always one a batch, in the order in which it was read: the horizon is the
same for all, so that this is the order in which it falls due. Two cursors walk them, one that settles and, a grace
later, one that forgets: no scan, nothing in memory but the list at each cursor.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from schemas.records import DueEntry, JoinClock, PendingLabel, Signal, Signals, Witnesses
from stream.labels.due_lists import DueLists, Get, Put
from stream.labels.rules import JoinSettings, label_by_signals
from stream.labels.state import (
    CLOCK_KEY,
    WITNESSES_KEY,
    event_key,
    signals_key,
    user_and_id,
)
from stream.labels.stream_time import StreamTime

OPEN = "open"
PARKED = "parked"
JOINED = "joined"
EXPIRED = "expired"

BY_OUTCOME = "outcome"
BY_ATTRIBUTION = "attribution"
BY_EXPIRY = "expiry"

_MAX_SETTLED = (
    16  # entries settled, and as many forgotten, for each record read: a jump of time is worked off in steps
)
_MAX_SETTLED_BY_TICK = 512  # the same for a tick, which comes where no other record does
_MAX_SIGNALS = 100  # kept of a user on an item
_NEVER = 2**63


class Closing(NamedTuple):
    """An event and its label; history and target as they were scored; labeled_at: stream time at which it was made."""

    key: str
    user_id: str
    event_id: str
    item_id: str
    history: str
    target: str
    y: float
    z: float | None
    source: str
    occurred_at: int
    labeled_at: int


@dataclass(slots=True)
class NewEvent:
    """An event that was read: what the join must know of it, and its text."""

    user_id: str
    event_id: str
    item_id: str
    action: str
    occurred_at: int


class PartitionJoin:
    """One batch's view of a partition's join; `end` writes what all of it came to.

    get, put: the pending table, as the open unit sees it; None deletes.
    count: called with what became of outcomes and of events that got no label: a name, and the key.
    write: called with each closing whose example is to be written now. What the methods return are the closings whose
    labels became known now.
    """

    def __init__(
        self,
        settings: JoinSettings,
        get: Get,
        put: Put,
        count: Callable[[str, str], None],
        write: Callable[[Closing], None],
    ) -> None:
        self._settings = settings
        self._get = get
        self._put = put
        self._count = count
        self._write = write
        clock = get(CLOCK_KEY)
        self._clock = replace(clock) if isinstance(clock, JoinClock) else JoinClock(0, 0, 0, 0, 0, 0)
        self._began = replace(self._clock)
        witnesses = get(WITNESSES_KEY)
        self._time = StreamTime(
            self._clock.stream_at,
            witnesses if isinstance(witnesses, Witnesses) else None,
            settings.step_ms,
            settings.wait_ms,
        )
        self._lists = DueLists(self._clock.next_list, get, put)
        self._next = self._next_due()

    @property
    def stream_at(self) -> int:
        """Stream time, milliseconds since 1970; 0 before the first record."""
        return self._clock.stream_at

    @property
    def next_due_at(self) -> int | None:
        """The stream time at which something falls due or is forgotten next; None if nothing waits."""
        return None if self._next == _NEVER else self._next

    def advance(self, user_id: str, own_time_ms: int, kafka_time_ms: int) -> list[Closing]:
        """Take in a record's time and whose it is; return what falls due by it, in order.

        kafka_time_ms: Kafka's own time of the record; below 0 if it has none.
        """
        return self._advance(user_id, own_time_ms, kafka_time_ms, _MAX_SETTLED)

    def tick(self, own_time_ms: int, kafka_time_ms: int) -> list[Closing]:
        """Do as advance does for a tick: more falls due at once."""
        return self._advance(None, own_time_ms, kafka_time_ms, _MAX_SETTLED_BY_TICK)

    def _advance(self, user_id: str | None, own_time_ms: int, kafka_time_ms: int, most: int) -> list[Closing]:
        time_ms = min(own_time_ms, kafka_time_ms) if kafka_time_ms >= 0 else own_time_ms
        before = self._time.at
        if user_id is None:
            self._time.tick(time_ms)
        else:
            self._time.advance(zlib.crc32(user_id.encode()), time_ms)
        self._clock.stream_at = self._time.at
        if self._time.at < before:  # what the time taken back has stamped must not wait for that time
            self._next = self._next_due()
        return self._settle_due(most) if self._time.at >= self._next else []

    def event(self, event: NewEvent, history: str, target: str) -> tuple[str | None, Closing | None]:
        """Let an event wait for its label, or close it with the outcome that came before it.

        Returns the event's key, None for one that the join has met before: it never waits twice.
        """
        key = event_key(event.user_id, event.event_id)
        self._note_signal(event)
        known = self._get(key)
        parked = None
        if isinstance(known, PendingLabel):
            if known.status != PARKED:
                return None, None
            parked = known
        due_at = self._clock.stream_at + self._settings.wait_ms
        entry = PendingLabel(OPEN, due_at, event.occurred_at, event.action, event.item_id, history, target)
        self._due(due_at, key)
        if parked is not None and parked.y is not None:
            if parked.occurred_at - event.occurred_at <= self._settings.horizon_ms:
                self._count("joined", key)
                return key, self._close(key, entry, parked.y, parked.z, BY_OUTCOME)
            self._count("late", key)
        self._put(key, entry)
        return key, None

    def outcome(
        self, user_id: str, event_id: str, observed_at: int, y: float, z: float | None
    ) -> Closing | None:
        """Take in an outcome: it closes its event, or waits for it, or is counted as repeated or late."""
        key = event_key(user_id, event_id)
        known = self._get(key)
        if not isinstance(known, PendingLabel):
            due_at = self._clock.stream_at + self._settings.wait_ms
            self._put(key, PendingLabel(PARKED, due_at, observed_at, y=y, z=z))
            self._due(due_at, key)
            self._count("parked", key)
            return None
        if known.status == PARKED:
            if (
                observed_at < known.occurred_at
            ):  # the first observed stands, so that a late one hides none in time
                self._put(key, replace(known, occurred_at=observed_at, y=y, z=z))
            self._count("repeated", key)
            return None
        if known.status == JOINED:
            self._count("repeated", key)
            return None
        if known.status == EXPIRED or observed_at - known.occurred_at > self._settings.horizon_ms:
            self._count("late", key)
            return None
        self._count("joined", key)
        return self._close(key, known, y, z, BY_OUTCOME)

    def end(self) -> None:
        """Write this batch's due lists, the clock and its witnesses."""
        clock = self._clock
        clock.next_list = self._lists.write()
        if clock != self._began:
            self._put(CLOCK_KEY, clock)
        witnesses = self._time.changed()
        if witnesses is not None:
            self._put(WITNESSES_KEY, witnesses)

    # --- closing ----------------------------------------------------------------------------------------

    def _close(self, key: str, entry: PendingLabel, y: float, z: float | None, source: str) -> Closing:
        closing = self._closing(key, entry, y, z, source)
        if source == BY_OUTCOME and self._settings.labels_fall_due:
            self._put(key, replace(entry, status=JOINED, y=y, z=z))  # its text stays for the example
            return closing
        status = EXPIRED if source == BY_EXPIRY else JOINED
        self._put(key, PendingLabel(status, entry.due_at, entry.occurred_at))
        self._write(closing)
        return closing

    def _closing(self, key: str, entry: PendingLabel, y: float, z: float | None, source: str) -> Closing:
        user_id, event_id = user_and_id(key)
        return Closing(
            key,
            user_id,
            event_id,
            entry.item_id,
            entry.history,
            entry.target,
            y,
            z,
            source,
            entry.occurred_at,
            self._clock.stream_at,
        )

    def _settle(self, entry: DueEntry) -> Closing | None:
        """Settle an entry that is due: by the rules, by the configured negative, or by giving it up.

        One that an outcome has closed has its example written now; it closes nothing anew.
        """
        known = self._get(entry.key)
        if not isinstance(known, PendingLabel) or known.due_at != entry.due_at:
            return None
        due_at = self._due_after_all(known)
        if due_at is not None:
            self._stamp(entry.key, known, due_at)
            self._keep_signals(entry.key, known, due_at)
            return None
        if known.status == JOINED and known.y is not None:
            self._put(entry.key, PendingLabel(JOINED, known.due_at, known.occurred_at))
            self._write(self._closing(entry.key, known, known.y, known.z, BY_OUTCOME))
        if known.status == PARKED:
            self._put(entry.key, None)
            self._count("without_event", entry.key)
        if known.status != OPEN:
            return None
        signals = self._signals_on(known.item_id, entry.key)
        label = label_by_signals(known.action, known.occurred_at, signals, self._settings)
        if label is None:
            self._put(entry.key, PendingLabel(EXPIRED, known.due_at, known.occurred_at))
            self._count("unlabeled", entry.key)
            return None
        source = BY_ATTRIBUTION if label.attributed else BY_EXPIRY
        return self._close(entry.key, known, label.y, label.z, source)

    def _due_after_all(self, known: PendingLabel) -> int | None:
        """Return when an entry that is due really is, if it was read while its own time was ahead of stream time.

        Then it was stamped too low, or its clock is wrong. None: it is due.
        """
        wait_ms, stream_at = self._settings.wait_ms, self._time.at
        if known.occurred_at <= known.due_at - wait_ms:
            return None
        if known.occurred_at <= stream_at:  # stream time has come to its own time meanwhile
            due_at = known.occurred_at + wait_ms
            return due_at if due_at > stream_at else None
        # Still ahead. If stream time jumped over its due time, it has not waited yet; else its clock is wrong.
        return stream_at + wait_ms if known.due_at <= self._time.jumped_at else None

    def _stamp(self, key: str, known: PendingLabel | Signals, due_at: int) -> None:
        """Let an entry fall due at another time; its place is at the end of the lists."""
        self._put(key, replace(known, due_at=due_at))
        self._due(due_at, key)

    def _keep_signals(self, key: str, known: PendingLabel, due_at: int) -> None:
        """Let what may label an event stay until the event is settled: its place is behind that of later ones."""
        if known.status != OPEN or not known.item_id:
            return
        user_id, _ = user_and_id(key)
        of_item = signals_key(user_id, known.item_id)
        found = self._get(of_item)
        if isinstance(found, Signals):
            self._stamp(of_item, found, due_at)

    def _stamped_by_a_wrong_clock(self, entry: DueEntry) -> bool:
        """Whether an entry is due later than anything that is read now: stream time was taken back since."""
        return entry.due_at > self._time.at + self._settings.wait_ms

    def _signals_on(self, item_id: str, key: str) -> list[Signal]:
        """Return what the user of an event did with its item."""
        if not item_id or not self._settings.signal_actions:
            return []
        user_id, _ = user_and_id(key)
        found = self._get(signals_key(user_id, item_id))
        return found.signals if isinstance(found, Signals) else []

    def _settled_to(self) -> int:
        """Return the stream time up to which all that is due is settled."""
        _, _, due = self._lists.at(self._clock.due_list, self._clock.due_index)
        return self._clock.stream_at if due is None else min(self._clock.stream_at, due.due_at)

    def _forget(self, entry: DueEntry, settled_to: int) -> None:
        """Forget what has been settled for as long as the grace.

        An older version passes an example that waits over when it falls due: then it is written now.
        """
        known = self._get(entry.key)
        if not isinstance(known, PendingLabel | Signals) or known.due_at != entry.due_at:
            return
        if isinstance(known, PendingLabel):
            self._put(entry.key, None)
            if known.status == JOINED and known.y is not None:
                self._write(self._closing(entry.key, known, known.y, known.z, BY_OUTCOME))
            return
        oldest = settled_to - self._settings.wait_ms - self._settings.grace_ms
        kept = [signal for signal in known.signals if signal.occurred_at > oldest]
        if not kept:
            self._put(entry.key, None)
            return
        due_at = self._clock.stream_at + self._settings.wait_ms
        self._put(entry.key, Signals(kept, due_at))
        self._due(due_at, entry.key)

    def _note_signal(self, event: NewEvent) -> None:
        if not event.item_id or event.action not in self._settings.signal_actions:
            return
        key = signals_key(event.user_id, event.item_id)
        found = self._get(key)
        before = found.signals if isinstance(found, Signals) else []
        signal = Signal(event.occurred_at, event.action)
        if signal in before:
            return
        signals = sorted([*before, signal], key=lambda one: (one.occurred_at, one.action))[-_MAX_SIGNALS:]
        due_at = self._clock.stream_at + self._settings.wait_ms
        self._put(key, Signals(signals, due_at))
        self._due(due_at, key)

    # --- due lists --------------------------------------------------------------------------------------

    def _due(self, due_at: int, key: str) -> None:
        self._lists.add(due_at, key)
        self._next = min(self._next, due_at)

    def _settle_due(self, most: int) -> list[Closing]:
        """Settle what is due and forget what was settled a grace ago, so many entries of each at most."""
        closings = self._settle_some(most)
        self._forget_some(most)
        self._next = self._next_due()
        return closings

    def _settle_some(self, most: int) -> list[Closing]:
        clock = self._clock
        closings = []
        for _ in range(most):
            clock.due_list, clock.due_index, entry = self._lists.at(clock.due_list, clock.due_index)
            if entry is None:
                break
            if self._stamped_by_a_wrong_clock(entry):
                known = self._get(entry.key)
                if isinstance(known, PendingLabel | Signals) and known.due_at == entry.due_at:
                    self._stamp(entry.key, known, clock.stream_at + self._settings.wait_ms)
            elif entry.due_at > clock.stream_at:
                break
            else:
                closing = self._settle(entry)
                if closing is not None:
                    closings.append(closing)
            clock.due_index += 1
        return closings

    def _forget_some(self, most: int) -> None:
        clock, grace_ms = self._clock, self._settings.grace_ms
        # After a jump this is behind stream time: what labels an event stays until the event is settled.
        settled_to = self._settled_to()
        for _ in range(most):
            before = clock.kept_list
            clock.kept_list, clock.kept_index, entry = self._lists.at(clock.kept_list, clock.kept_index)
            self._lists.drop(before, clock.kept_list)
            not_settled = (clock.kept_list, clock.kept_index) >= (clock.due_list, clock.due_index)
            if entry is None or not_settled:
                break
            if not self._stamped_by_a_wrong_clock(entry):  # else it stands in a later list once more
                if entry.due_at + grace_ms > settled_to:
                    break
                self._forget(entry, settled_to)
            clock.kept_index += 1

    def _next_due(self) -> int:
        """Return the stream time at which a cursor moves next."""
        clock = self._clock
        _, _, due = self._lists.at(clock.due_list, clock.due_index)
        _, _, kept = self._lists.at(clock.kept_list, clock.kept_index)
        return min(self._moves_at(due, 0), self._moves_at(kept, self._settings.grace_ms))

    def _moves_at(self, entry: DueEntry | None, after_ms: int) -> int:
        """Return the stream time at which a cursor passes an entry, which it does so long after it is due."""
        if entry is None:
            return _NEVER
        return self._time.at if self._stamped_by_a_wrong_clock(entry) else entry.due_at + after_ms


def next_due_at(settings: JoinSettings, get: Get) -> int | None:
    """Return the stream time at which something of a partition falls due or is forgotten next, or None."""
    join = PartitionJoin(
        settings, get, lambda _key, _value: None, lambda _what, _key: None, lambda _one: None
    )
    return join.next_due_at
