"""How far the requests on the training topic went: what is left when the broker has forgotten the group's offsets."""

from collections.abc import Callable, Mapping
from uuid import uuid4

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from schemas.records import TrainingRequest
from schemas.wire import Codec
from stream.exactly_once.kafka.offsets import Cancelled, reader, watermarks
from stream.exactly_once.kafka.passing import passes
from stream.exactly_once.units.records import TopicPartition

_MAX_RECORDS = 10_000
_CALL_TIMEOUT_S = 0.1  # consume() waits for all of it, whatever came


def requested_ends(
    client_config: Mapping[str, str],
    training: str,
    partitions: int,
    examples: str,
    codec: Codec[TrainingRequest],
    cancelled: Callable[[], bool],
) -> dict[int, int]:
    """Return by partition of `examples` the furthest end of any request; empty without requests.

    Reads all of `training`, which is small and kept for ever, up to the ends that it has now. Raises Cancelled, and
    DecodeError for a record that is no request: skipping it could hand examples over again.
    """
    ends: dict[int, int] = {}
    consumer = reader(client_config, f"requests-{uuid4().hex}", **{"enable.partition.eof": True})
    try:
        starts = [
            KafkaTopicPartition(
                training, number, watermarks(consumer, TopicPartition(training, number), cancelled)[0]
            )
            for number in range(partitions)
        ]
        consumer.assign(starts)
        left = set(range(partitions))
        while left:
            if cancelled():
                raise Cancelled
            for message in consumer.consume(_MAX_RECORDS, _CALL_TIMEOUT_S):
                error = message.error()
                if error is None:
                    for part in codec.decode(message.value()).ranges:
                        if part.topic == examples:
                            ends[part.partition] = max(part.end, ends.get(part.partition, 0))
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition() or 0)
                elif not passes(error):
                    raise KafkaException(error)
    finally:
        consumer.close()
    return ends
