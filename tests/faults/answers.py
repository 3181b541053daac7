"""The answers, that is scores and dead letters, that a read_committed reader has read so far."""

import time
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Self

from schemas.records import DeadLetter, InfluenceScore
from schemas.wire import Codec
from tests.integration.workers import Sway, Visible

Where = tuple[str, int, int]
"""Topic, partition and offset of a record."""


class Answers:
    """Reads answers on demand, and counts them by the coordinates of the answered record."""

    def __init__(self, sway: Sway) -> None:
        self._scores = Codec(InfluenceScore)
        self._letters = Codec(DeadLetter)
        self._letters_topic = sway.topics.name("dead-letters")
        self._visible = Visible(sway, ("scores", "dead-letters"))
        self.scores: list[InfluenceScore] = []
        self.letters: list[DeadLetter] = []
        self.seen: Counter[Where] = Counter()
        self.places: dict[Where, list[Where]] = defaultdict(list)
        """The coordinates of all answers to a record."""
        self.written_ms: dict[int, list[int]] = defaultdict(list)
        """The timestamps of the answers to a partition's records, in the order of reading."""
        self.longest_wait_s = 0.0
        """The longest time from an answer's timestamp to its reading; meaningful only while answers are read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._visible.close()

    def longest_pause_s(self) -> float:
        """Return the longest time between two consecutive answers of a partition."""
        gaps = (
            later - sooner for times in self.written_ms.values() for sooner, later in pairwise(sorted(times))
        )
        return max(gaps, default=0) / 1000

    def read_to_the_end(self) -> None:
        """Read up to the current end of the topics."""
        ends = self._visible.ends()
        while not self._visible.reached(ends):
            self.read()

    def read(self) -> int:
        """Continue reading; return the number of answers read so far."""
        for message in self._visible.more():
            if message.topic() == self._letters_topic:
                letter = self._letters.decode(message.value())
                self.letters.append(letter)
                where = (letter.topic, letter.partition, letter.offset)
            else:
                score = self._scores.decode(message.value())
                self.scores.append(score)
                where = (score.source.topic, score.source.partition, score.source.offset)
            self.seen[where] += 1
            self.places[where].append(
                (message.topic() or "", message.partition() or 0, message.offset() or 0)
            )
            written_ms = message.timestamp()[1]
            self.written_ms[where[1]].append(written_ms)
            self.longest_wait_s = max(self.longest_wait_s, time.time() - written_ms / 1000)
        return self.seen.total()
