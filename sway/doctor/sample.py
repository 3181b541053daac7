"""A sample of the newest committed records of a topic, read without a consumer group."""

import time
from collections.abc import Mapping
from contextlib import closing

from confluent_kafka import Consumer, KafkaException, Message

from clients.consumers import reader
from clients.ranges import read_ranges
from clients.watermarks import watermarks
from sway.cluster import QUIET, reason
from sway.doctor.keys import SampledRecord
from sway.errors import CommandError


class _DeadlineError(Exception):
    """The timeout of a sample has expired."""


def newest_records(
    client_config: Mapping[str, str], topic: str, partitions: int, *, wanted: int, timeout_s: float
) -> list[SampledRecord]:
    """Return up to about `wanted` records, spread evenly over the partitions.

    Records not received within timeout_s are left out. Raises CommandError if the topic cannot be read.
    """
    deadline = time.monotonic() + timeout_s

    def check() -> None:
        if time.monotonic() > deadline:
            raise _DeadlineError

    records: list[SampledRecord] = []
    with closing(reader(client_config, "sway-doctor", **QUIET)) as consumer:
        try:
            ranges = _ranges(consumer, topic, partitions, max(1, wanted // partitions), deadline)
            for polled in read_ranges(consumer, ranges, check=check):
                records += map(_sampled, polled.records)
        except _DeadlineError:
            return records
        except KafkaException as exc:
            raise CommandError(f"cannot read {topic}: {reason(exc)}") from exc
    return records


def _ranges(
    consumer: Consumer, topic: str, partitions: int, each: int, deadline: float
) -> dict[tuple[str, int], tuple[int, int]]:
    ranges = {}
    for number in range(partitions):
        left_s = max(0.1, deadline - time.monotonic())
        low, high = watermarks(consumer, (topic, number), left_s)
        ranges[topic, number] = max(low, high - each), high
    return ranges


def _sampled(message: Message) -> SampledRecord:
    key = message.key()
    return SampledRecord(
        message.partition() or 0, key.encode() if isinstance(key, str) else key, message.value()
    )
