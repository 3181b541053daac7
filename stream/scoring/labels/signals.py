"""Signals: actions of a user on an item that may label the user's earlier events on it."""

from collections.abc import Callable
from dataclasses import replace

from schemas.state_records import Signal, Signals
from stream.scoring.labels.due_lists import Get, Put
from stream.scoring.labels.rules import JoinSettings
from stream.scoring.labels.state import signals_key, user_and_id

_MAX_SIGNALS = 100  # per user and item


class UserSignals:
    """The signals of a partition, in its pending table.

    schedule: appends a due time and a key to the due lists.
    """

    def __init__(
        self, settings: JoinSettings, get: Get, put: Put, schedule: Callable[[int, str], None]
    ) -> None:
        self._settings = settings
        self._get = get
        self._put = put
        self._schedule = schedule

    def add(self, user_id: str, item_id: str, occurred_at: int, action: str, due_at: int) -> None:
        """Add an action on an item, unless no rule or weight names it."""
        if not item_id or action not in self._settings.signal_actions:
            return
        key = signals_key(user_id, item_id)
        found = self._get(key)
        before = found.signals if isinstance(found, Signals) else []
        signal = Signal(occurred_at, action)
        if signal in before:
            return
        signals = sorted([*before, signal], key=lambda one: (one.occurred_at, one.action))[-_MAX_SIGNALS:]
        self._write(key, Signals(signals, due_at))

    def on(self, item_id: str, event_key: str) -> list[Signal]:
        """Return the signals of an event's user on the event's item."""
        if not item_id or not self._settings.signal_actions:
            return []
        user_id, _ = user_and_id(event_key)
        found = self._get(signals_key(user_id, item_id))
        return found.signals if isinstance(found, Signals) else []

    def postpone(self, item_id: str, event_key: str, due_at: int) -> None:
        """Reschedule the signals that may label a rescheduled event, so that they are kept until it is settled."""
        if not item_id:
            return
        user_id, _ = user_and_id(event_key)
        key = signals_key(user_id, item_id)
        found = self._get(key)
        if isinstance(found, Signals):
            self._write(key, replace(found, due_at=due_at))

    def forget(self, key: str, signals: list[Signal], oldest: int, due_at: int) -> None:
        """Delete the signals up to a time; reschedule the others."""
        kept = [signal for signal in signals if signal.occurred_at > oldest]
        if kept:
            self._write(key, Signals(kept, due_at))
        else:
            self._put(key, None)

    def _write(self, key: str, signals: Signals) -> None:
        self._put(key, signals)
        self._schedule(signals.due_at, key)
