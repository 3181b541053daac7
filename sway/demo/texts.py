"""The texts of some scores, reconstructed from the worker's windows.

The windows are read from their changelog topic. A behaviour's text is the part of its user's window before it. Unlike
the text that was scored, it includes outcomes that arrived after the score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.tokens import BehaviourTokenizer
from stream.scoring.behaviours import WindowCodec
from stream.scoring.windows import History, Window, find, stored
from stream.settings import Settings
from sway.committed import committed
from sway.demo.ledger import ScoredEvent


@dataclass(frozen=True, slots=True)
class ScoredText:
    """The text and the scores of one behaviour."""

    history: str
    target: str
    influence: float
    y_hat: float
    y: float


def scored_texts(
    judged: Sequence[ScoredEvent], windows: Mapping[str, Window], tokenizer: BehaviourTokenizer, count: int
) -> list[ScoredText]:
    """Return up to `count` behaviours of distinct users, newest first, that a window still contains."""
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
    """Return the latest window of every user, from the changelog topic."""
    codec = WindowCodec(tokenizer)
    messages = committed(settings.kafka.client_config(), changelog, group="sway-demo-texts")
    newest = {message.key() or b"": message.value() for message in messages}
    return {key.decode(): codec.loads(value) for key, value in newest.items() if value is not None}
