"""What a read_committed reader has seen of scores and dead letters so far."""

from collections import Counter
from typing import Self

from schemas.records import DeadLetter, InfluenceScore
from schemas.wire import Codec
from tests.integration.workers import Sway, Visible

Where = tuple[str, int, int]
"""Topic, partition, offset of a source record."""


class Answers:
    """Reads on whenever it is asked; an answer is found by the coordinates of what it answers."""

    def __init__(self, sway: Sway) -> None:
        self._scores = Codec(InfluenceScore)
        self._letters = Codec(DeadLetter)
        self._letters_topic = sway.topics.name("dead-letters")
        self._visible = Visible(sway, ("scores", "dead-letters"))
        self.scores: list[InfluenceScore] = []
        self.letters: list[DeadLetter] = []
        self.seen: Counter[Where] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._visible.close()

    def read(self) -> int:
        """Read on; return how many answers are visible so far."""
        for message in self._visible.more():
            if message.topic() == self._letters_topic:
                letter = self._letters.decode(message.value())
                self.letters.append(letter)
                self.seen[letter.topic, letter.partition, letter.offset] += 1
            else:
                score = self._scores.decode(message.value())
                self.scores.append(score)
                source = score.source
                self.seen[source.topic, source.partition, source.offset] += 1
        return self.seen.total()
