"""The label join of one partition: turns events and outcomes into closings, that is, labeled events.

An event stays open until an outcome closes it or until it is due. When it is due, the rules are applied to the user's
later actions on the item; if no rule matches, the configured negative applies. Decisions depend on event times only, so
that any arrival order within the grace gives the same labels. Stream time only determines when an event is due.

A label and its example are separate. The label is known when the event closes. If all labels come from outcomes, the
example is written at the same time. If events can also be labeled when they are due, every example is written when its
event is due. Otherwise events that close early, which are mostly positives, would be written a horizon before the
negatives of the same time. Examples are thus written in the order in which their events were read.

Entries are kept in due lists, usually one per batch, in the order in which they were read. This is also the order in
which they become due, since all have the same horizon. Two cursors move along the lists: one settles entries that are
due, the other one forgets them a grace later. Nothing is scanned, and only the list at each cursor is in memory.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from schemas.state_records import DueEntry, JoinClock, PendingLabel, Signals, Witnesses
from stream.scoring.labels.due_lists import DueLists, Get, Put
from stream.scoring.labels.rules import JoinSettings, label_by_signals
from stream.scoring.labels.signals import UserSignals
from stream.scoring.labels.state import (
    CLOCK_KEY,
    WITNESSES_KEY,
    event_key,
    user_and_id,
)
from stream.scoring.labels.stream_time import StreamTime

OPEN = "open"
PARKED = "parked"
JOINED = "joined"
EXPIRED = "expired"

BY_OUTCOME = "outcome"
BY_ATTRIBUTION = "attribution"
BY_EXPIRY = "expiry"

# Entries to settle, and entries to forget, per record read. Limits the work after a jump of stream time.
_MAX_SETTLED = 16
_MAX_SETTLED_BY_TICK = 512  # the same per tick; an idle partition has no other records
_NEVER = 2**63


class Closing(NamedTuple):
    """An event and its label. history, target: as scored. labeled_at: the stream time when the label was created."""

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
    """The fields of a read event that the join uses."""

    user_id: str
    event_id: str
    item_id: str
    action: str
    occurred_at: int


class PartitionJoin:
    """A partition's join during one batch; `end` writes its state.

    get, put: access the pending table of the open unit; putting None deletes a key.
    count: called with the result of an outcome or of an event without a label, and the key.
    write: called with each closing whose example is to be written now. The methods return the closings whose labels
    became known.
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
        self._initial_clock = replace(self._clock)
        witnesses = get(WITNESSES_KEY)
        self._time = StreamTime(
            self._clock.stream_at,
            witnesses if isinstance(witnesses, Witnesses) else None,
            settings.step_ms,
            settings.wait_ms,
        )
        self._lists = DueLists(self._clock.next_list, get, put)
        self._signals = UserSignals(settings, get, put, self._schedule)
        self._next = self._next_due()

    @property
    def stream_at(self) -> int:
        """Stream time, in epoch milliseconds; 0 before the first record."""
        return self._clock.stream_at

    @property
    def next_due_at(self) -> int | None:
        """The stream time at which an entry is next due or forgotten; None if there is no entry."""
        return None if self._next == _NEVER else self._next

    def advance(self, user_id: str, own_time_ms: int, kafka_time_ms: int) -> list[Closing]:
        """Advance stream time by a record of a user; return the closings of events that are now due, in order.

        kafka_time_ms: Kafka's timestamp of the record; negative if it has none.
        """
        return self._advance(user_id, own_time_ms, kafka_time_ms, _MAX_SETTLED)

    def tick(self, own_time_ms: int, kafka_time_ms: int) -> list[Closing]:
        """Advance stream time by a tick; like `advance`, but settles more entries at once."""
        return self._advance(None, own_time_ms, kafka_time_ms, _MAX_SETTLED_BY_TICK)

    def _advance(
        self, user_id: str | None, own_time_ms: int, kafka_time_ms: int, max_entries: int
    ) -> list[Closing]:
        time_ms = min(own_time_ms, kafka_time_ms) if kafka_time_ms >= 0 else own_time_ms
        before = self._time.at
        if user_id is None:
            self._time.tick(time_ms)
        else:
            self._time.advance(zlib.crc32(user_id.encode()), time_ms)
        self._clock.stream_at = self._time.at
        # After a rollback, entries scheduled by the time that was rolled back must not wait until that time.
        if self._time.at < before:
            self._next = self._next_due()
        return self._settle_due(max_entries) if self._time.at >= self._next else []

    def event(self, event: NewEvent, history: str, target: str) -> tuple[str | None, Closing | None]:
        """Add an event to the join, or close it with an outcome that arrived earlier.

        Returns the event's key, or None for a duplicate event, and the closing.
        """
        key = event_key(event.user_id, event.event_id)
        self._signals.add(event.user_id, event.item_id, event.occurred_at, event.action, self._due_at())
        known = self._get(key)
        parked = None
        if isinstance(known, PendingLabel):
            if known.status != PARKED:
                return None, None
            parked = known
        due_at = self._due_at()
        entry = PendingLabel(OPEN, due_at, event.occurred_at, event.action, event.item_id, history, target)
        self._schedule(due_at, key)
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
        """Process an outcome: close its event, park it until the event arrives, or count it as repeated or late."""
        key = event_key(user_id, event_id)
        known = self._get(key)
        if not isinstance(known, PendingLabel):
            due_at = self._due_at()
            self._put(key, PendingLabel(PARKED, due_at, observed_at, y=y, z=z))
            self._schedule(due_at, key)
            self._count("parked", key)
            return None
        if known.status == PARKED:
            # The earliest observation wins, so that a late duplicate does not replace one that is in time.
            if observed_at < known.occurred_at:
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
        """Write the batch's due lists, the clock and its witnesses."""
        clock = self._clock
        clock.next_list = self._lists.write()
        if clock != self._initial_clock:
            self._put(CLOCK_KEY, clock)
        witnesses = self._time.changed()
        if witnesses is not None:
            self._put(WITNESSES_KEY, witnesses)

    # --- closing ----------------------------------------------------------------------------------------

    def _close(self, key: str, entry: PendingLabel, y: float, z: float | None, source: str) -> Closing:
        closing = self._closing(key, entry, y, z, source)
        if source == BY_OUTCOME and self._settings.labels_fall_due:
            # Keeps the text for the example.
            self._put(key, replace(entry, status=JOINED, y=y, z=z))
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
        """Settle a due entry: label it by a rule or with the configured negative, or expire it without a label.

        For an event already closed by an outcome, write its example and return None. An outcome without an
        event is deleted.
        """
        known = self._get(entry.key)
        if not isinstance(known, PendingLabel) or known.due_at != entry.due_at:
            return None
        due_at = self._postponed_due_at(known)
        if due_at is not None:
            self._reschedule(entry.key, known, due_at)
            if known.status == OPEN:
                self._signals.postpone(known.item_id, entry.key, due_at)
            return None
        if known.status == JOINED and known.y is not None:
            self._put(entry.key, PendingLabel(JOINED, known.due_at, known.occurred_at))
            self._write(self._closing(entry.key, known, known.y, known.z, BY_OUTCOME))
        if known.status == PARKED:
            self._put(entry.key, None)
            self._count("without_event", entry.key)
        if known.status != OPEN:
            return None
        signals = self._signals.on(known.item_id, entry.key)
        label = label_by_signals(known.action, known.occurred_at, signals, self._settings)
        if label is None:
            self._put(entry.key, PendingLabel(EXPIRED, known.due_at, known.occurred_at))
            self._count("unlabeled", entry.key)
            return None
        source = BY_ATTRIBUTION if label.attributed else BY_EXPIRY
        return self._close(entry.key, known, label.y, label.z, source)

    def _postponed_due_at(self, known: PendingLabel) -> int | None:
        """Return the corrected due time of an entry whose event time was ahead of stream time when it was read.

        Such an entry was scheduled too early, or its clock is wrong. None if the entry is due.
        """
        wait_ms, stream_at = self._settings.wait_ms, self._time.at
        if known.occurred_at <= known.due_at - wait_ms:
            return None
        if known.occurred_at <= stream_at:  # stream time has reached the event time since
            due_at = known.occurred_at + wait_ms
            return due_at if due_at > stream_at else None
        # Still ahead. If stream time jumped past the due time, the entry has not waited yet; else its clock is wrong.
        return stream_at + wait_ms if known.due_at <= self._time.jumped_at else None

    def _reschedule(self, key: str, known: PendingLabel | Signals, due_at: int) -> None:
        """Change an entry's due time and append it to the due lists again."""
        self._put(key, replace(known, due_at=due_at))
        self._schedule(due_at, key)

    def _scheduled_before_rollback(self, entry: DueEntry) -> bool:
        """Return whether an entry is due later than anything read now: stream time was rolled back since."""
        return entry.due_at > self._time.at + self._settings.wait_ms

    def _settled_until(self) -> int:
        """Return the stream time up to which all due entries are settled."""
        _, _, due = self._lists.at(self._clock.due_list, self._clock.due_index)
        return self._clock.stream_at if due is None else min(self._clock.stream_at, due.due_at)

    def _forget(self, entry: DueEntry, settled_until: int) -> None:
        """Delete an entry that was settled a grace ago.

        Older versions do not write a delayed example when its event is due; it is written here in that case.
        """
        known = self._get(entry.key)
        if not isinstance(known, PendingLabel | Signals) or known.due_at != entry.due_at:
            return
        if isinstance(known, PendingLabel):
            self._put(entry.key, None)
            if known.status == JOINED and known.y is not None:
                self._write(self._closing(entry.key, known, known.y, known.z, BY_OUTCOME))
            return
        oldest = settled_until - self._settings.wait_ms - self._settings.grace_ms
        self._signals.forget(entry.key, known.signals, oldest, self._due_at())

    # --- due lists --------------------------------------------------------------------------------------

    def _due_at(self) -> int:
        """Return the due time of an entry that is read now."""
        return self._clock.stream_at + self._settings.wait_ms

    def _schedule(self, due_at: int, key: str) -> None:
        self._lists.add(due_at, key)
        self._next = min(self._next, due_at)

    def _settle_due(self, max_entries: int) -> list[Closing]:
        """Settle due entries and forget entries settled a grace ago, at most `max_entries` of each."""
        closings = self._settle_entries(max_entries)
        self._forget_entries(max_entries)
        self._next = self._next_due()
        return closings

    def _settle_entries(self, max_entries: int) -> list[Closing]:
        clock = self._clock
        closings = []
        for _ in range(max_entries):
            clock.due_list, clock.due_index, entry = self._lists.at(clock.due_list, clock.due_index)
            if entry is None:
                break
            if self._scheduled_before_rollback(entry):
                known = self._get(entry.key)
                if isinstance(known, PendingLabel | Signals) and known.due_at == entry.due_at:
                    self._reschedule(entry.key, known, self._due_at())
            elif entry.due_at > clock.stream_at:
                break
            else:
                closing = self._settle(entry)
                if closing is not None:
                    closings.append(closing)
            clock.due_index += 1
        return closings

    def _forget_entries(self, max_entries: int) -> None:
        clock, grace_ms = self._clock, self._settings.grace_ms
        # Behind stream time after a jump: signals must be kept until the events that they label are settled.
        settled_until = self._settled_until()
        for _ in range(max_entries):
            previous_list = clock.kept_list
            clock.kept_list, clock.kept_index, entry = self._lists.at(clock.kept_list, clock.kept_index)
            self._lists.drop(previous_list, clock.kept_list)
            not_settled = (clock.kept_list, clock.kept_index) >= (clock.due_list, clock.due_index)
            if entry is None or not_settled:
                break
            if not self._scheduled_before_rollback(entry):  # otherwise it was rescheduled in a later list
                if entry.due_at + grace_ms > settled_until:
                    break
                self._forget(entry, settled_until)
            clock.kept_index += 1

    def _next_due(self) -> int:
        """Return the stream time at which the next cursor moves."""
        clock = self._clock
        _, _, due = self._lists.at(clock.due_list, clock.due_index)
        _, _, kept = self._lists.at(clock.kept_list, clock.kept_index)
        return min(self._passes_at(due, 0), self._passes_at(kept, self._settings.grace_ms))

    def _passes_at(self, entry: DueEntry | None, after_ms: int) -> int:
        """Return the stream time at which a cursor moves past an entry, `after_ms` after the entry is due."""
        if entry is None:
            return _NEVER
        return self._time.at if self._scheduled_before_rollback(entry) else entry.due_at + after_ms


def next_due_at(settings: JoinSettings, get: Get) -> int | None:
    """Return the stream time at which an entry of a partition is next due or forgotten; None if there is none."""
    join = PartitionJoin(
        settings, get, lambda _key, _value: None, lambda _what, _key: None, lambda _one: None
    )
    return join.next_due_at
