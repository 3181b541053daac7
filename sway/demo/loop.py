"""The learning loop, observed by its topics: examples, hand-overs and model announcements."""

import time
from collections import Counter
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.records import ModelAnnouncement, TrainingRequest
from schemas.wire import Codec
from stream.settings import Settings

_READ_RECORDS = 1000
_POLL_S = 0.1
_QUIET_S = 1.0
PROMOTED = "promoted"
REJECTED = "rejected"


@dataclass(slots=True)
class Loop:
    """The visible records of the learning loop.

    labeled: the number of examples. handovers: training requests by id. verdicts: by version, in order, the
    announcement that it was promoted or rejected.
    """

    labeled: int = 0
    handovers: dict[str, TrainingRequest] = field(default_factory=dict)
    verdicts: dict[str, ModelAnnouncement] = field(default_factory=dict)

    def count(self, event: str) -> int:
        """Return the number of versions with this event, PROMOTED or REJECTED."""
        return Counter(verdict.event for verdict in self.verdicts.values())[event]


class LoopReader:
    """Reads the loop's topics from the beginning, with read_committed isolation."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        topics = settings.topics
        self.loop = Loop()
        self._topics = topics
        self._requests = Codec(TrainingRequest)
        self._announcements = Codec(ModelAnnouncement)
        self._consumer = Consumer(
            {
                **settings.kafka.client_config(),
                "group.id": "sway-demo-loop",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        self._consumer.assign(
            [
                *(TopicPartition(topics.examples, partition, 0) for partition in range(partitions)),
                TopicPartition(topics.training, 0, 0),
                TopicPartition(topics.models, 0, 0),
            ]
        )

    def read(self, timeout_s: float = 0.0) -> None:
        """Process the available records; wait at most timeout_s for the first. Raises KafkaException."""
        for message in self._consumer.consume(_READ_RECORDS, timeout_s):
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            if message.topic() == self._topics.examples:
                self.loop.labeled += 1
            elif message.topic() == self._topics.training:
                request = self._requests.decode(message.value())
                self.loop.handovers[request.request_id] = request
            else:
                announcement = self._announcements.decode(message.value())
                if announcement.event in (PROMOTED, REJECTED):
                    self.loop.verdicts[announcement.version] = announcement

    def read_to_the_end(self) -> None:
        """Process all records, until no example has arrived for a second."""
        quiet_since_s = time.monotonic()
        while time.monotonic() - quiet_since_s < _QUIET_S:
            before = self.loop.labeled
            self.read(_POLL_S)
            if self.loop.labeled > before:
                quiet_since_s = time.monotonic()

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()
