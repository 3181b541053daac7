"""Reads the newest committed records of a topic, without a group and without a trace in the cluster."""

import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from sway.cluster import QUIET, reason
from sway.doctor.keys import SampledRecord
from sway.errors import CommandError

_POLL_S = 0.2


def newest_records(
    client_config: Mapping[str, str], topic: str, partitions: int, *, wanted: int, timeout_s: float
) -> list[SampledRecord]:
    """Return up to about `wanted` records, as evenly out of the partitions as they have them.

    What has not come after timeout_s is left out. Raises CommandError if the topic cannot be read.
    """
    consumer = Consumer(
        {
            **client_config,
            **QUIET,
            "group.id": "sway-doctor",  # required, but nothing is joined and nothing committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    deadline = time.monotonic() + timeout_s
    try:
        starts = _starts(consumer, topic, partitions, max(1, wanted // partitions), deadline)
        consumer.assign(starts)
        return _read(consumer, topic, len(starts), deadline)
    except KafkaException as exc:
        raise CommandError(f"cannot read {topic}: {reason(exc)}") from exc
    finally:
        consumer.close()


def _starts(
    consumer: Consumer, topic: str, partitions: int, each: int, deadline: float
) -> list[TopicPartition]:
    starts = []
    for number in range(partitions):
        left_s = max(0.1, deadline - time.monotonic())
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=left_s)
        if low < high:
            starts.append(TopicPartition(topic, number, max(low, high - each)))
    return starts


def _read(consumer: Consumer, topic: str, open_partitions: int, deadline: float) -> list[SampledRecord]:
    records = []
    while open_partitions and time.monotonic() < deadline:
        message = consumer.poll(_POLL_S)
        if message is None:
            continue
        error = message.error()
        if error is None:
            key = message.key()
            records.append(
                SampledRecord(
                    message.partition() or 0, key.encode() if isinstance(key, str) else key, message.value()
                )
            )
        elif error.code() == KafkaError._PARTITION_EOF:
            open_partitions -= 1
        elif not error.retriable():
            raise CommandError(f"cannot read {topic}: {error.str()}")
    return records
