"""A stream ends only at the end of its span. A failure is raised again and never taken for the end."""

import pytest
from confluent_kafka import KafkaError

from stream.replay import streams
from stream.replay.errors import PastRetentionError, ReplayError
from stream.replay.plan import Span
from stream.replay.streams import RecordStream
from tests.support.scripted_consumer import END, Message, ScriptedConsumer

EVENTS_0 = ("events", 0)


def stream(consumer: ScriptedConsumer, monkeypatch: pytest.MonkeyPatch) -> RecordStream:
    """Return the stream of offsets 0 to 5."""
    monkeypatch.setattr(streams, "reader", lambda *_args, **_settings: consumer)
    return RecordStream({}, "group", *EVENTS_0, Span(0, 6), timeout_s=0)


def test_a_span_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = ScriptedConsumer(
        [Message(EVENTS_0, 0), Message(EVENTS_0, 3)], [Message(EVENTS_0, 6, code=END)]
    )
    events = stream(consumer, monkeypatch)
    taken = []
    while events.head() is not None:
        taken.append(events.take().offset)
    assert taken == [0, 3]
    assert events.position == 6
    assert consumer.closed


@pytest.mark.parametrize(
    ("polls", "failure"),
    [
        ([], ReplayError),
        ([[Message(EVENTS_0, 0, code=KafkaError.TOPIC_AUTHORIZATION_FAILED)]], ReplayError),
        ([[Message(EVENTS_0, 0, code=KafkaError._AUTO_OFFSET_RESET)]], PastRetentionError),
    ],
)
def test_a_failure_is_raised_on_every_read(
    polls: list[list[Message]], failure: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = stream(ScriptedConsumer(*polls), monkeypatch)
    for _ in range(2):
        with pytest.raises(failure):
            events.head()
    assert events.position == 0
