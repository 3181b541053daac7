"""Fetches the first and the end offset of a partition."""

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition


def watermarks(consumer: Consumer, where: tuple[str, int], timeout_s: float) -> tuple[int, int]:
    """Return the first offset of a partition and its end, as seen at the consumer's isolation level.

    where: topic and partition number. timeout_s: of each request; there are one or two.
    Raises KafkaException, with LEADER_NOT_AVAILABLE, which is transient, while the partition has no leader, and
    UNKNOWN_TOPIC_OR_PART if it does not exist.
    """
    try:
        answer = consumer.get_watermark_offsets(TopicPartition(*where), timeout=timeout_s)
    except KafkaException as exc:
        if exc.args[0].code() != KafkaError._UNKNOWN_PARTITION:
            raise
        raise KafkaException(_cause(consumer, where, timeout_s)) from exc
    if answer is None:  # documented for a timeout
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    return answer


def _cause(consumer: Consumer, where: tuple[str, int], timeout_s: float) -> KafkaError:
    """Return why a partition is unknown to librdkafka, which also reports one without a leader as unknown.

    Requesting the metadata replaces librdkafka's cached answer, so that the next call finds a new leader.
    """
    topic, number = where
    partitions = consumer.list_topics(topic, timeout=timeout_s).topics[topic].partitions
    if number in partitions:
        return KafkaError(KafkaError.LEADER_NOT_AVAILABLE, f"{topic}[{number}] has no leader")
    return KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"{topic}[{number}] does not exist")
