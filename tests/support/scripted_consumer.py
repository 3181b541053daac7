"""A fake of confluent-kafka's consumer with scripted polls."""

from typing import Any

from confluent_kafka import KafkaError, TopicPartition

END = KafkaError._PARTITION_EOF


class Message:
    """A record, or a message with an error code: the end of a partition, or a failure."""

    def __init__(
        self, where: tuple[str, int], offset: int, key: bytes = b"", value: Any = None, code: int = 0
    ) -> None:
        self._where, self._offset, self._key, self._value = where, offset, key, value
        self._error = KafkaError(code) if code else None

    def topic(self) -> str:
        return self._where[0]

    def partition(self) -> int:
        return self._where[1]

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key

    def value(self) -> Any:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, self._offset

    def error(self) -> KafkaError | None:
        return self._error


class ScriptedConsumer:
    """Returns the scripted polls in order, then nothing.

    end: the end offset of every partition. assigned: start offsets by partition. asked: the `count` of each poll.
    """

    def __init__(self, *polls: list[Message], end: int = 0) -> None:
        self.polls = list(polls)
        self.assigned: dict[tuple[str, int], int] = {}
        self.unassigned: list[tuple[str, int]] = []
        self.asked: list[int] = []
        self.closed = False
        self._end = end

    def list_topics(self, topic: str, timeout: float) -> None: ...

    def get_watermark_offsets(self, partition: Any, timeout: float) -> tuple[int, int]:
        return 0, self._end

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = {(one.topic, one.partition): one.offset for one in partitions}

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.unassigned += [(one.topic, one.partition) for one in partitions]

    def consume(self, count: int, timeout: float) -> list[Message]:
        self.asked.append(count)
        return self.polls.pop(0) if self.polls else []

    def close(self) -> None:
        self.closed = True
