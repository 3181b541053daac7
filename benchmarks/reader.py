"""What a read_committed reader of the scores sees, and when."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks.stand import PARTITIONS, Program, Stand

_POLL_S = 0.2
_POLL_RECORDS = 20_000
_FIRST_SCORE_S = 180.0  # a busy machine may take a minute to import torch
_SILENCE_S = 60.0
_FETCH_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of steady work, from one arrival of scores to another.

    began_s, ended_s: on the machine's monotonic clock. scores: those that arrived after the first of the two.
    cpu_s: of the program's process, kernel time included.
    """

    began_s: float
    ended_s: float
    scores: int
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Scores a second."""
        return self.scores / (self.ended_s - self.began_s)

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU a score."""
        return self.cpu_s / self.scores * 1e6


class Reader:
    """Reads a program's scores from the start of the topic, together with nobody."""

    def __init__(self, stand: Stand, name: str, *, at_once: bool = False, wait_s: float = _POLL_S) -> None:
        """at_once: take each record as soon as it is visible, where a rate needs larger fetches.

        wait_s: else, how long records are gathered; if it is short, fetches are not larger than what is there.
        """
        self._at_once, self._wait_s = at_once, wait_s
        soon = at_once or wait_s < _POLL_S
        self._consumer = Consumer(
            {
                "bootstrap.servers": stand.servers,
                "group.id": f"{name}.reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.min.bytes": 1 if soon else _FETCH_BYTES,
                "fetch.wait.max.ms": 50,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(f"{name}.scores", number, 0) for number in range(PARTITIONS)])

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def arrivals(self, program: Program) -> Iterator[tuple[float, list[Message]]]:
        """Yield what arrives and when, for as long as the program runs and there is something.

        Raises ProgramEndedError, TimeoutError when nothing comes.
        """
        patience_s, since = _FIRST_SCORE_S, time.monotonic()
        while True:
            messages = self._next()
            now = time.monotonic()
            if messages:
                yield now, messages
                patience_s, since = _SILENCE_S, now
            else:
                program.check()
                if now - since > patience_s:
                    raise TimeoutError(f"no scores for {now - since:.0f} s")

    def _next(self) -> list[Message]:
        if self._at_once:  # consume() waits for its number or its time-out
            message = self._consumer.poll(_POLL_S)
            found = [] if message is None else [message]
        else:
            found = self._consumer.consume(_POLL_RECORDS, self._wait_s)
        return [message for message in found if message.error() is None]

    def measure(self, program: Program, total: int, *, warm_s: float, for_s: float) -> Span:
        """Measure from the first arrival that is warm_s after the very first one, for for_s or to the end.

        total: how many scores there will be at most.
        """
        process = psutil.Process(program.pid)
        first = began = 0.0
        seen = at_begin = 0
        cpu_at_begin = 0.0
        for now, messages in self.arrivals(program):
            seen += len(messages)
            first = first or now
            if not began and now - first >= warm_s:
                began, at_begin, cpu_at_begin = now, seen, _cpu_s(process)
            elif (began and now - began >= for_s) or seen >= total:
                return Span(began, now, seen - at_begin, _cpu_s(process) - cpu_at_begin)
        raise AssertionError("unreachable: arrivals end by raising")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
