"""Measurement of scores by a read_committed consumer."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks.stand import PARTITIONS, Program, Stand

_POLL_S = 0.2
_POLL_RECORDS = 20_000
_FIRST_SCORE_S = 180.0  # a busy machine can take a minute to import torch
_SILENCE_S = 60.0
_FETCH_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Span:
    """An interval of steady work between two arrivals of scores.

    began_s, ended_s: the two arrivals, on the machine's monotonic clock. scores: the number of scores after the first.
    cpu_s: CPU time of the program's process, including kernel time.
    """

    began_s: float
    ended_s: float
    scores: int
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Scores per second."""
        return self.scores / (self.ended_s - self.began_s)

    @property
    def cpu_us(self) -> float:
        """CPU time per score, in microseconds."""
        return self.cpu_s / self.scores * 1e6


class Reader:
    """A consumer of a program's scores from the start of the topic, without group management."""

    def __init__(self, stand: Stand, name: str, *, at_once: bool = False, wait_s: float = _POLL_S) -> None:
        """at_once: return each record as soon as it is visible, instead of fetching large batches.

        wait_s: otherwise, the time for which records are collected. If it is short, fetches do not wait for more data.
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
        """Yield messages with their arrival time while the program runs.

        Raises ProgramEndedError if the program ends, TimeoutError if no scores arrive.
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
        # consume() would wait for the full number of messages or its timeout.
        if self._at_once:
            message = self._consumer.poll(_POLL_S)
            found = [] if message is None else [message]
        else:
            found = self._consumer.consume(_POLL_RECORDS, self._wait_s)
        return [message for message in found if message.error() is None]

    def measure(self, program: Program, total: int, *, warm_s: float, for_s: float) -> Span:
        """Measure for for_s seconds, or to the end, starting warm_s seconds after the first arrival.

        total: the maximum number of scores.
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
        raise AssertionError("unreachable: arrivals() ends only by an exception")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
