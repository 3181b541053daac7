"""Reading of the committed records of a topic up to its current end, without a consumer group."""

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import closing

from confluent_kafka import Consumer, KafkaException, Message

from clients.consumers import reader
from clients.ranges import StalledError, read_ranges
from clients.watermarks import watermarks
from sway.cluster import reason
from sway.errors import CommandError

OnProgress = Callable[[int, int], None]
"""Called with the number of offsets read and the total."""

_CALL_TIMEOUT_S = 10.0
_STALLED_S = 60.0
# Retention may delete the oldest record before it is read.
_FROM_THE_OLDEST: dict[str, str | int | bool] = {"auto.offset.reset": "earliest", "log_level": 0}


def committed(
    client_config: Mapping[str, str],
    topic: str,
    *,
    group: str,
    on_progress: OnProgress = lambda _read, _all: None,
    partitions: Container[int] | None = None,
    newest: int | None = None,
) -> Iterator[Message]:
    """Yield the records of an existing topic up to its end at the call, in offset order per partition.

    group: a group id, which the client requires; no group is joined and no offset committed.
    partitions: the partitions to read; None reads all. newest: the number of offsets to read before the end of each
    partition; None reads from the oldest. Raises CommandError if the topic cannot be read.
    """
    with closing(reader(client_config, group, **_FROM_THE_OLDEST)) as consumer:
        try:
            yield from _between(consumer, topic, _spans(consumer, topic, partitions, newest), on_progress)
        except KafkaException as exc:
            raise CommandError(f"cannot read {topic}: {reason(exc)}") from exc
        except StalledError as exc:
            raise CommandError(f"cannot read {topic}: {exc} for {_STALLED_S:g} s") from exc


def _between(
    consumer: Consumer, topic: str, spans: Mapping[int, tuple[int, int]], on_progress: OnProgress
) -> Iterator[Message]:
    """Yield the records between two offsets of each partition."""
    total = sum(end - start for start, end in spans.values())
    reached = {number: start for number, (start, _) in spans.items()}
    ranges = {(topic, number): span for number, span in spans.items()}
    for polled in read_ranges(consumer, ranges, timeout_s=_STALLED_S):
        yield from polled.records
        reached |= {number: offset for (_, number), offset in polled.reached.items()}
        behind = sum(max(0, end - reached[number]) for number, (_, end) in spans.items())
        on_progress(total - behind, total)


def _spans(
    consumer: Consumer, topic: str, partitions: Container[int] | None, newest: int | None
) -> dict[int, tuple[int, int]]:
    """Return the first offset to read and the stable end of each non-empty partition."""
    found = consumer.list_topics(topic, timeout=_CALL_TIMEOUT_S).topics[topic]
    spans = {}
    for number in found.partitions:
        if partitions is not None and number not in partitions:
            continue
        low, high = watermarks(consumer, (topic, number), _CALL_TIMEOUT_S)
        if low < high:
            spans[number] = (low if newest is None else max(low, high - newest), high)
    return spans
