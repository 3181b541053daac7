"""The texts behind some scores, put together again from the windows that the worker keeps.

The windows are read from their changelog, as anyone may; a behaviour's text is what stands before it in its
user's window. Outcomes of earlier behaviours that came after the score are told there as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from model.tokens import BehaviourTokenizer
from stream.behaviours import WindowCodec
from stream.settings import Settings
from stream.windows import History, Window, find, stored
from sway.demo.ledger import Judged

_POLL_S = 0.2


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


def read_windows(
    settings: Settings, changelog: str, partitions: int, tokenizer: BehaviourTokenizer
) -> dict[str, Window]:
    """Read every user's newest window from the changelog."""
    codec = WindowCodec(tokenizer)
    newest = dict(_records(settings, changelog, partitions))
    return {key.decode(): codec.loads(value) for key, value in newest.items() if value is not None}


def _records(settings: Settings, topic: str, partitions: int) -> Iterator[tuple[bytes, bytes | None]]:
    consumer = Consumer(
        {
            **settings.kafka.client_config(),
            "group.id": "sway-demo-texts",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    ended: set[int] = set()
    while len(ended) < partitions:
        for message in consumer.consume(1000, _POLL_S):
            if message.error() is not None:
                ended.add(message.partition() or 0)
            else:
                yield message.key() or b"", message.value()
    consumer.close()
