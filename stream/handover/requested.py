"""Reads the end offsets of requests from the training topic, for when the group's offsets have expired."""

from collections.abc import Callable, Mapping
from contextlib import closing
from uuid import uuid4

from clients.consumers import reader
from clients.ranges import read_ranges
from schemas.records import TrainingRequest
from schemas.wire import Codec
from stream.exactly_once.kafka.offsets import Cancelled, watermarks
from stream.exactly_once.units.records import TopicPartition

_POLL_S = 0.1  # consume() waits this long unless its batch is full


def requested_ends(
    client_config: Mapping[str, str],
    training: str,
    partitions: int,
    examples: str,
    codec: Codec[TrainingRequest],
    cancelled: Callable[[], bool],
) -> dict[int, int]:
    """Return the highest end offset of any request by partition of `examples`; empty without requests.

    Reads `training` up to its current end offsets; the topic is small and never expires. Raises Cancelled, and
    DecodeError for a record that is not a request, because skipping it could hand over examples twice.
    """

    def check() -> None:
        if cancelled():
            raise Cancelled

    ends: dict[int, int] = {}
    with closing(reader(client_config, f"requests-{uuid4().hex}")) as consumer:
        ranges = {
            (training, number): watermarks(consumer, TopicPartition(training, number), cancelled)
            for number in range(partitions)
        }
        for polled in read_ranges(consumer, ranges, poll_s=_POLL_S, check=check):
            for message in polled.records:
                for part in codec.decode(message.value()).ranges:
                    if part.topic == examples:
                        ends[part.partition] = max(part.end, ends.get(part.partition, 0))
    return ends
