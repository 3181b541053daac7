"""Topics fetched in any chunks are merged by time, with each record exactly once."""

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
    """The records of one partition number by topic, less those that were fetched."""

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
    """Fetch in these chunks, and then the rest of each topic; check the order of every merged batch."""
    merger = TopicMerger(TOPICS, SLACK_MS, patience_s=1e9)
    read: list[RecordBatch] = []
    rest = [(topic, 100) for topic in TOPICS]
    for topic, most in [*fetches, *rest, *rest]:
        if TopicPartition(topic, 0) in merger.buffered:
            continue  # the transport does not fetch a buffered partition either
        batch = log.fetch(topic, most)
        if batch is not None:
            merger.put(batch)
        for merged in merger.ready(log.is_at_end):
            read.append(merged)
            unread = {
                name: of[sum(len(b.records) for b in read if b.topic == name) :]
                for name, of in sorted_times.items()
                if name != merged.topic
            }
            first = min((of[0] for of in unread.values() if of), default=None)
            assert first is None or all(r.timestamp <= first + SLACK_MS for r in merged.records)
    assert merger.records == 0
    assert merger.waited_for == set()
    return read


@given(st.fixed_dictionaries({topic: times.map(sorted) for topic in TOPICS}), pieces)
def test_records_are_read_in_time_order_across_topics(
    times_by_topic: dict[str, list[int]], fetches: list[tuple[str, int]]
) -> None:
    read = read_all(Log(times_by_topic), fetches, sorted_times=times_by_topic)
    for topic, of in times_by_topic.items():
        batches = [batch for batch in read if batch.topic == topic]
        assert [r.timestamp for batch in batches for r in batch.records] == of
        assert all(one.next == other.base for one, other in pairwise(batches))


@given(st.fixed_dictionaries(dict.fromkeys(TOPICS, times)), pieces)
def test_unsorted_times_lose_no_record(
    times_by_topic: dict[str, list[int]], fetches: list[tuple[str, int]]
) -> None:
    log = Log(times_by_topic)
    merger = TopicMerger(TOPICS, SLACK_MS, patience_s=1e9)
    read: dict[str, list[int]] = {topic: [] for topic in TOPICS}
    for topic, most in [*fetches, *([(topic, 100) for topic in TOPICS] * 2)]:
        batch = log.fetch(topic, most)
        if batch is not None:
            merger.put(batch)
        for merged in merger.ready(log.is_at_end):
            read[merged.topic] += [record.timestamp for record in merged.records]
    assert read == times_by_topic
    assert merger.records == 0
