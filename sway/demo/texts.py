"""The texts behind some scores, put together again from the windows that the worker keeps.

The windows are read from their changelog, as anyone may; a behaviour's text is what stands before it in its
user's window. Outcomes of earlier behaviours that came after the score are told there as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.tokens import BehaviourTokenizer
from stream.behaviours import WindowCodec
from stream.settings import Settings
from stream.windows import History, Window, find, stored
from sway.committed import committed
from sway.demo.ledger import Judged


@dataclass(frozen=True, slots=True)
class ScoredText:
    """One scored behaviour, readable."""

    history: str
    target: str
    influence: float
    y_hat: float
    y: float


def scored_texts(
    judged: Sequence[Judged], windows: Mapping[str, Window], tokenizer: BehaviourTokenizer, count: int
) -> list[ScoredText]:
    """Return `count` scored behaviours of different users, the newest first, that still stand in a window."""
    found: list[ScoredText] = []
    users: set[str] = set()
    for one in reversed(judged):
        user = one.event.user_id
        window = windows.get(user)
        index = None if window is None else find(window, one.event.event_id)
        if window is None or index is None or user in users:
            continue
        users.add(user)
        past = History(window, index)
        history, target = tokenizer.behaviour_text(
            past, tokenizer.target(stored(window, index).behaviour), tokenizer.rates(past.habits)
        )
        found.append(ScoredText(history, target, one.score.influence, one.score.y_hat, one.y))
        if len(found) == count:
            break
    return found


def read_windows(settings: Settings, changelog: str, tokenizer: BehaviourTokenizer) -> dict[str, Window]:
    """Read every user's newest window from the changelog."""
    codec = WindowCodec(tokenizer)
    messages = committed(settings.kafka.client_config(), changelog, group="sway-demo-texts")
    newest = {message.key() or b"": message.value() for message in messages}
    return {key.decode(): codec.loads(value) for key, value in newest.items() if value is not None}
