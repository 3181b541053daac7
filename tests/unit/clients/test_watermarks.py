"""Watermarks of a partition that librdkafka reports as unknown."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from clients.transient import is_transient
from clients.watermarks import watermarks


class UnknownPartition:
    """A client whose cache has no leader of the partition. partitions: the topic's, as the brokers list them."""

    def __init__(self, *partitions: int) -> None:
        self._partitions = partitions

    def get_watermark_offsets(self, partition: Any, timeout: float) -> Any:
        raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=dict.fromkeys(self._partitions))})


class NoAnswer:
    def get_watermark_offsets(self, partition: Any, timeout: float) -> None:
        return None


def error_of(consumer: object) -> KafkaError:
    with pytest.raises(KafkaException) as raised:
        watermarks(cast("Consumer", consumer), ("events", 1), timeout_s=1)
    return cast("KafkaError", raised.value.args[0])


def test_a_listed_partition_has_no_leader() -> None:
    error = error_of(UnknownPartition(0, 1))
    assert is_transient(error)
    assert error.str() == "events[1] has no leader"


def test_an_unlisted_partition_does_not_exist() -> None:
    error = error_of(UnknownPartition(0))
    assert not is_transient(error)
    assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_no_answer_is_a_timeout() -> None:
    assert error_of(NoAnswer()).code() == KafkaError._TIMED_OUT
