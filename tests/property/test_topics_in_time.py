"""Topics that are fetched in any pieces are read by time, each record once and none before its time."""

from collections import deque
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stream.exactly_once.units.merging import TopicMerger
from stream.exactly_once.units.records import Epoch, RecordBatch, TopicPartition
from tests.support.running_engine import Record

TOPICS = ["a", "b", "c"]
EPOCH = Epoch(1, "member")
SLACK_MS = 3

times = st.lists(st.integers(0, 30), max_size=12)
pieces = st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(1, 5)), max_size=20)


class Log:
    """What the brokers have of one partition number, and how far each topic is fetched."""

    def __init__(self, times_by_topic: dict[str, list[int]]) -> None:
        self.left = {
            topic: deque(Record(topic, 0, offset, b"", timestamp=at) for offset, at in enumerate(of))
            for topic, of in times_by_topic.items()
        }

    def fetch(self, topic: str, most: int) -> RecordBatch | None:
        left = self.left[topic]
        found = [left.popleft() for _ in range(min(most, len(left)))]
        if not found:
            return None
        return RecordBatch(topic, 0, found, found[0].offset, found[-1].offset + 1, EPOCH)

    def is_at_end(self, where: TopicPartition) -> bool:
        return not self.left[where.topic]


def read_all(
    log: Log, fetches: list[tuple[str, int]], *, sorted_times: dict[str, list[int]]
) -> list[RecordBatch]:
    """Fetch in these pieces, and what is left of each topic then; check every batch when it is given."""
    merger = TopicMerger(TOPICS, SLACK_MS, patience_s=1e9)
    read: list[RecordBatch] = []
    rest = [(topic, 100) for topic in TOPICS]
    for topic, most in [*fetches, *rest, *rest]:
        if TopicPartition(topic, 0) in merger.buffered:
            continue  # as the transport does
        batch = log.fetch(topic, most)
        if batch is not None:
            merger.put(batch)
        for given_out in merger.ready(log.is_at_end):
            read.append(given_out)
            unread = {
                name: of[sum(len(b.records) for b in read if b.topic == name) :]
                for name, of in sorted_times.items()
                if name != given_out.topic
            }
            first = min((of[0] for of in unread.values() if of), default=None)
            assert first is None or all(r.timestamp <= first + SLACK_MS for r in given_out.records)
    assert merger.records == 0
    assert merger.waited_for == set()
    return read


@given(st.fixed_dictionaries({topic: times.map(sorted) for topic in TOPICS}), pieces)
def test_no_record_is_read_before_an_older_one_of_another_topic(
    times_by_topic: dict[str, list[int]], fetches: list[tuple[str, int]]
) -> None:
    read = read_all(Log(times_by_topic), fetches, sorted_times=times_by_topic)
    for topic, of in times_by_topic.items():
        batches = [batch for batch in read if batch.topic == topic]
        assert [r.timestamp for batch in batches for r in batch.records] == of
        assert all(one.next == other.base for one, other in pairwise(batches))


@given(st.fixed_dictionaries(dict.fromkeys(TOPICS, times)), pieces)
def test_times_in_any_disorder_lose_nothing(
    times_by_topic: dict[str, list[int]], fetches: list[tuple[str, int]]
) -> None:
    log = Log(times_by_topic)
    merger = TopicMerger(TOPICS, SLACK_MS, patience_s=1e9)
    read: dict[str, list[int]] = {topic: [] for topic in TOPICS}
    for topic, most in [*fetches, *([(topic, 100) for topic in TOPICS] * 2)]:
        batch = log.fetch(topic, most)
        if batch is not None:
            merger.put(batch)
        for given_out in merger.ready(log.is_at_end):
            read[given_out.topic] += [record.timestamp for record in given_out.records]
    assert read == times_by_topic
    assert merger.records == 0
