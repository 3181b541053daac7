"""Exactly-once results for any order of scores, fenced commits and rebalances."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.exactly_once.units.errors import FencedError
from stream.exactly_once.units.records import TopicPartition
from tests.support.running_engine import EVENTS, NOTES, Running, until

PARTITIONS = (0, 1)
INPUTS = [TopicPartition(topic, partition) for topic in (EVENTS, NOTES) for partition in PARTITIONS]
TAKE = st.tuples(st.just("take"), st.sampled_from(INPUTS), st.integers(1, 7))
SCORE = st.tuples(st.just("score"), st.floats(0, 1))
OTHER = st.sampled_from([("wait",), ("hold",), ("fence",), ("rebalance",), ("rebalance early",)])
STORY = st.lists(st.one_of(TAKE, TAKE, SCORE, SCORE, OTHER), max_size=25)


class Log:
    """Endless input partitions. reached: the next offset to deliver. longest: the end offset delivered so far."""

    def __init__(self, worker: Running) -> None:
        self.worker = worker
        self.reached = dict.fromkeys(INPUTS, 0)
        self.longest = dict.fromkeys(INPUTS, 0)

    def deliver(self, where: TopicPartition, count: int) -> None:
        first = self.reached[where]
        values = [f"{where.topic}{first + index}" for index in range(count)]
        self.worker.take(first, *values, topic=where.topic, partition=where.partition)
        self.reached[where] = first + count
        self.longest[where] = max(self.longest[where], first + count)

    async def begin(self) -> None:
        await self.worker.begin(*PARTITIONS)
        self.reached = dict(self.worker.driver.starts[-1])


async def play(worker: Running, story: list[tuple]) -> dict[TopicPartition, int]:  # type: ignore[type-arg]
    """Play the story, then deliver and score the rest; return the end offset of each input."""
    log = Log(worker)
    await log.begin()
    for step, *args in story:
        if step == "take":
            log.deliver(*args)
        elif step == "score" and worker.scorer.submitted:
            worker.scorer.score(int(args[0] * (len(worker.scorer.submitted) - 1)))
        elif step == "hold":
            # The commit takes longer than a revocation waits for scores.
            worker.writer.free.clear()
            asyncio.get_running_loop().call_later(0.015, worker.writer.free.set)
        elif step == "fence":
            worker.writer.fails = [FencedError("fenced by the test")]
        elif step == "rebalance":
            await worker.engine.revoke()
            await log.begin()
        elif step == "rebalance early":
            # Revoke while the recovery is still running.
            await worker.engine.revoke()
            worker.assign(*PARTITIONS)
            await worker.engine.revoke()
            await log.begin()
        else:
            await asyncio.sleep(0.003)
    worker.writer.fails = []
    worker.scorer.at_once = True
    await worker.engine.revoke()
    await log.begin()
    for where, end in log.longest.items():
        if log.reached[where] < end:
            log.deliver(where, end - log.reached[where])
    await worker.idle()
    return log.longest


@settings(deadline=None, max_examples=60)
@given(story=STORY, max_records=st.integers(1, 5))
def test_every_record_is_committed_and_applied_once(story: list[tuple], max_records: int) -> None:  # type: ignore[type-arg]
    async def scenario(folder: Path, patch: pytest.MonkeyPatch) -> None:
        limits = {"max_records": max_records, "revoke_timeout_s": 0.01}
        async with Running(folder, patch, at_once=False, **limits) as worker:
            lengths = await play(worker, story)
            assert worker.engine.failure is None
            scores = worker.writer.scores()
            assert set(scores) == {
                f"{topic}[{partition}]@{offset}"
                for (topic, partition), length in lengths.items()
                for offset in range(length)
            }
            for partition in PARTITIONS:
                state = worker.table.get_in(partition, b"ann")
                expected = [
                    f"{topic}{offset}".encode()
                    for topic in (EVENTS, NOTES)
                    for offset in range(lengths[TopicPartition(topic, partition)])
                ]
                assert Counter(state) == Counter(expected)
                # Each score was computed from a state that was committed later.
                states = [values for name, values in scores.items() if f"[{partition}]" in name]
                assert all(values == state[: len(values)] for values in states), (
                    "scored from uncommitted state"
                )
            await until(lambda: len(worker.table.layers) == 0)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        asyncio.run(scenario(Path(folder), patch))
