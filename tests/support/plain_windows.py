"""A reference implementation of windows and texts: plain lists, one record after the other."""

from collections import defaultdict
from dataclasses import replace

from model.tokens import BehaviourTokenizer, EncodedText
from model.words import NO_OUTCOMES, ItemCounts, count_habits
from schemas.records import BehaviorEvent
from schemas.state_records import Behaviour
from schemas.window_state import encode_behaviour
from stream.scoring.windows import WindowLimits
from tests.support.plain_labels import Joined

Place = tuple[int, int]


class PlainWindows:
    """Every user's window, oldest behaviour first. The caller removes invalid input."""

    def __init__(self, tokenizer: BehaviourTokenizer, limits: WindowLimits, max_item_text_chars: int) -> None:
        self.tokenizer = tokenizer
        self.limits = limits
        self.max_chars = max_item_text_chars
        self.windows: dict[str, list[Behaviour]] = defaultdict(list)
        self.floors: dict[str, Place] = {}
        self.items: dict[str, ItemCounts] = {}

    def event(self, one: BehaviorEvent, offset: int) -> tuple[EncodedText, bool]:
        """Insert an event into its user's window; return its text, and whether it is a duplicate."""
        window = self.windows[one.user_id]
        known = next((behaviour for behaviour in window if behaviour.event_id == one.event_id), None)
        text = one.item_text[: self.max_chars]
        behaviour = known or Behaviour(
            one.event_id, offset, one.occurred_at, one.action, one.item_id, text, one.value
        )
        history = [other for other in window if _place(other) < _place(behaviour)]
        encoded = self.tokenizer.encode(
            self.tokenizer.pieces(history),
            self.tokenizer.target(behaviour),
            self.tokenizer.rates(
                count_habits(other.y for other in history), self.items.get(behaviour.item_id, NO_OUTCOMES)
            ),
        )
        if known is None and _place(behaviour) > self.floors.get(one.user_id, (-1, -1)):
            window.append(behaviour)
            self._trim(one.user_id)
        return encoded, known is not None

    def outcome(self, joined: Joined | None) -> None:
        """Count the outcome for its item, and set it on the event in its user's window, unless one is set."""
        if joined is None:
            return
        one, item_id = joined
        if item_id:
            self.items[item_id] = self.items.get(item_id, NO_OUTCOMES).with_outcome(one.y)
        window = self.windows[one.user_id]
        for index, behaviour in enumerate(window):
            if behaviour.event_id == one.event_id and behaviour.y is None:
                window[index] = replace(behaviour, y=one.y, z=one.z)
        self._trim(one.user_id)

    def _trim(self, user_id: str) -> None:
        window = self.windows[user_id]
        window.sort(key=_place)
        while len(window) > self.limits.max_behaviours or _bytes(window) > self.limits.max_bytes:
            self.floors[user_id] = _place(window.pop(0))


def _place(behaviour: Behaviour) -> Place:
    return behaviour.occurred_at, behaviour.offset


def _bytes(window: list[Behaviour]) -> int:
    return sum(len(encode_behaviour(behaviour)) for behaviour in window)
