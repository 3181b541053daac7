"""The replay runner with fake partitions: which ones it opens, which ones it opens again, and when it ends."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import RegistryUnavailable
from stream.exactly_once.units.errors import FatalTransactionError, FencedError, StartError, StoreError
from stream.replay.errors import NoAnswerError, PlanError, ReplayError
from stream.replay.journal import Journal
from stream.replay.membership import Membership
from stream.replay.partition import PartitionReplay
from stream.replay.plan import PartitionPlan, Progress, ReplayPlan, Span
from stream.replay.runner import MAX_RETRIES, ReplayRunner, Report

END = 100
FENCED = FencedError("another took it")
UNAVAILABLE = RegistryUnavailable("the registry does not answer")


@dataclass
class FakeReplay:
    """A partition whose polls make progress to an offset or raise an error. It is done at END."""

    number: int
    polls: Iterable[int | Exception]
    in_flight: int = 0
    learnt: int = 7
    uncommitted: int = 0
    can_read: bool = True
    closed: bool = False
    progress: Progress = field(default_factory=lambda: Progress(0, 0))
    on_read: Callable[[int], None] = lambda _number: None

    def __post_init__(self) -> None:
        self._left = deque(self.polls)

    @property
    def done(self) -> bool:
        return self.progress.done

    def poll(self) -> None:
        assert not self.closed
        if self._left:
            what = self._left.popleft()
            if isinstance(what, Exception):
                raise what
            self.progress = Progress(what, 0, done=what == END)

    def read(self) -> None:
        assert self.can_read
        self.on_read(self.number)

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class Clock(threading.Event):
    """A clock that advances when the runner waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now_s += timeout or 0.0
        return self.is_set()


def plan_of(partitions: dict[int, PartitionPlan], created_at_ms: int = 77) -> ReplayPlan:
    return ReplayPlan(
        replay_id="again",
        model_version="v1",
        with_labels=False,
        outputs="parquet",
        settings="digest",
        created_at_ms=created_at_ms,
        topic_ids={},
        partitions=partitions,
    )


@dataclass
class Harness:
    """A runner with fake parts: its group, its journal, and the partitions in the order in which it opens them."""

    replays: Sequence[FakeReplay | Exception | None]
    partitions: set[int]
    journal_answers: list[Any] = field(default_factory=list)
    """First answers of the journal. Afterwards it returns the known progress."""
    partitions_at_once: int = 2
    max_in_flight_texts: int = 10
    waiting_texts: int = 0
    clock: Clock = field(default_factory=Clock)
    opened: list[int] = field(default_factory=list)
    opened_at_s: list[float] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    member_closed: bool = False
    most_open: int = 0
    known: dict[int, Progress] = field(default_factory=dict)
    on_member_poll: Callable[["Harness"], None] = lambda _harness: None
    on_lost: Callable[[set[int]], None] = lambda _partitions: None

    def __post_init__(self) -> None:
        part = PartitionPlan(
            warm_up=Span(0, 0), scored=Span(0, END), run_out=Span(END, END), outcomes=Span(0, 0)
        )
        self.plan = plan_of(dict.fromkeys((0, 1, 2), part))
        self.known = {
            number: Progress(0, 0) if number in self.partitions else Progress(END, 0, done=True)
            for number in self.plan.partitions
        }
        self.left = deque(self.replays)
        self.runner = ReplayRunner(
            self.plan,
            cast(Journal, self),
            lambda number: cast(PartitionReplay | None, self.open_partition(number)),
            self.join,
            max_in_flight_texts=self.max_in_flight_texts,
            partitions_at_once=self.partitions_at_once,
            changed=self.clock,
            on_report=self.reports.append,
            waiting_texts=lambda: self.waiting_texts,
            clock=lambda: self.clock.now_s,
        )

    def run(self) -> dict[int, Progress]:
        return self.runner.run()

    def open_partition(self, number: int) -> FakeReplay | None:
        self.opened.append(number)
        self.opened_at_s.append(self.clock.now_s)
        replay = self.left.popleft()
        if isinstance(replay, Exception):
            raise replay
        open_now = [one for one in self.replays if isinstance(one, FakeReplay) and not one.closed]
        self.most_open = max(self.most_open, len(open_now) - sum(one in self.left for one in open_now))
        return replay

    # --- the journal and the membership ---------------------------------------------------------------------

    def look(
        self, patience_s: float, stopped: Callable[[], bool]
    ) -> tuple[ReplayPlan, dict[int, Progress]] | None:
        if not self.journal_answers:
            for one in replays(self):
                if one.progress.events_next > self.known[one.number].events_next:
                    self.known[one.number] = one.progress
            return self.plan, dict(self.known)
        found: tuple[ReplayPlan, dict[int, Progress]] | None = self.journal_answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def join(self, on_lost: Callable[[set[int]], None]) -> Membership:
        self.on_lost = on_lost
        return cast(Membership, self)

    def poll(self) -> None:
        self.on_member_poll(self)

    def close(self) -> None:
        self.member_closed = True


def raising(error: Exception) -> Callable[[int], None]:
    """Return a read callback that raises the error."""

    def read(_number: int) -> None:
        raise error

    return read


def replays(harness: Harness) -> list[FakeReplay]:
    return [one for one in harness.replays if isinstance(one, FakeReplay)]


def test_partitions_are_replayed_a_few_at_a_time() -> None:
    harness = Harness([FakeReplay(n, [50, END]) for n in range(3)], {0, 1, 2})
    done = harness.run()
    assert {number: one.done for number, one in done.items()} == dict.fromkeys(range(3), True)
    assert harness.opened == [0, 1, 2]
    assert harness.most_open == 2
    assert all(one.closed for one in replays(harness))
    assert harness.member_closed
    last = harness.reports[-1]
    assert (last.partitions, last.learnt, last.ahead) == (done, 3 * 7, 0)


def test_unplanned_and_finished_partitions_are_not_opened() -> None:
    harness = Harness([FakeReplay(0, [END])], {0, 9})
    assert harness.run().keys() == {0, 1, 2}
    assert harness.opened == [0]


def test_a_report_comes_with_each_commit() -> None:
    harness = Harness([FakeReplay(0, [0, 50, 50, END], uncommitted=5)], {0}, waiting_texts=2)
    harness.run()
    reported = [
        (report.partitions[0].events_next, report.ahead)
        for report in harness.reports
        if 0 in report.partitions
    ]
    assert [one for one in reported if one[0] == 50] == [(50, 3)]
    assert reported[-1] == (END, 0)


@pytest.mark.parametrize("error", [FENCED, FatalTransactionError("its outcome is unknown")])
def test_a_failed_partition_is_reopened_after_a_pause(error: Exception) -> None:
    harness = Harness([FakeReplay(0, [50, error]), FakeReplay(0, [END])], {0})
    assert harness.run()[0].done
    assert [one.closed for one in replays(harness)] == [True, True]
    assert harness.opened_at_s[1] - harness.opened_at_s[0] >= 2.0


@pytest.mark.parametrize(
    "error",
    [
        StoreError("in use"),
        StartError("no answer"),
        KafkaException(KafkaError(KafkaError._TRANSPORT)),
        NoAnswerError("no broker answers"),
        # Opening a partition may look up the schema of an old score.
        UNAVAILABLE,
    ],
)
def test_a_partition_that_cannot_be_opened_is_retried(error: Exception) -> None:
    harness = Harness([error, FakeReplay(1, [END]), error, FakeReplay(0, [END])], {0, 1})
    assert harness.run()[0].done
    assert harness.opened == [0, 1, 0, 0]


def test_repeated_losses_without_progress_end_the_replay() -> None:
    harness = Harness([FakeReplay(0, [50, FENCED]) for _ in range(MAX_RETRIES + 1)], {0})
    with pytest.raises(
        ReplayError,
        match=rf"Partition 0 failed {MAX_RETRIES + 1} times .* the last error: another took it",
    ):
        harness.run()
    assert len(harness.opened) == MAX_RETRIES + 1
    assert all(one.closed for one in replays(harness))
    assert harness.member_closed


@pytest.mark.parametrize("error", [UNAVAILABLE, NoAnswerError("no broker answers")])
def test_a_failed_read_reopens_the_partition_after_a_pause(error: Exception) -> None:
    polls: list[float] = []
    harness = Harness(
        [FakeReplay(0, [50], on_read=raising(error)), FakeReplay(0, [END])],
        {0},
        on_member_poll=lambda harness: polls.append(harness.clock.now_s),
    )
    assert harness.run()[0].done
    assert [one.closed for one in replays(harness)] == [True, True]
    assert harness.opened_at_s[1] - harness.opened_at_s[0] >= 2.0
    # The runner keeps its group membership during the pause.
    assert len([at for at in polls if at < harness.opened_at_s[1]]) >= 5


def test_reads_that_fail_for_minutes_end_the_replay() -> None:
    harness = Harness(
        [FakeReplay(0, [50], on_read=raising(UNAVAILABLE)) for _ in range(MAX_RETRIES + 1)], {0}
    )
    message = "the registry does not answer Completed work is kept; run the same command"
    with pytest.raises(ReplayError, match=rf"failed {MAX_RETRIES + 1} times .* error: {message}"):
        harness.run()
    assert 240 < harness.clock.now_s < 360
    assert all(one.closed for one in replays(harness))


def test_stop_works_while_the_schema_registry_is_unavailable() -> None:
    harness = Harness([UNAVAILABLE, FakeReplay(1, [50])], {0, 1})

    def stop(number: int) -> None:
        harness.runner.stop()
        raise UNAVAILABLE

    replays(harness)[0].on_read = stop
    assert harness.run()[1] == Progress(50, 0)
    assert harness.opened == [0, 1]


def test_no_partition_is_opened_after_a_stop() -> None:
    harness = Harness([UNAVAILABLE], {0, 1})
    open_partition = harness.open_partition

    def stopping(number: int) -> FakeReplay | None:
        harness.runner.stop()
        return open_partition(number)

    harness.open_partition = stopping  # type: ignore[method-assign]
    harness.run()
    assert harness.opened == [0]


def test_losses_with_progress_never_end_the_replay() -> None:
    harness = Harness(
        [FakeReplay(0, [n, FENCED]) for n in range(1, MAX_RETRIES + 10)] + [FakeReplay(0, [END])], {0}
    )
    assert harness.run()[0].done


def test_an_unexpected_error_ends_the_replay_and_closes_everything() -> None:
    harness = Harness([FakeReplay(0, [50, StoreError("disk full")]), FakeReplay(1, [50])], {0, 1})
    with pytest.raises(StoreError, match="disk full"):
        harness.run()
    assert all(one.closed for one in replays(harness))
    assert harness.member_closed


def test_stop_ends_the_replay_and_closes_everything() -> None:
    stopping = FakeReplay(0, [50])
    harness = Harness([stopping], {0})
    stopping.on_read = lambda _: harness.runner.stop()
    assert harness.run()[0] == Progress(50, 0)
    assert stopping.closed
    assert harness.member_closed


def test_a_revoked_partition_is_closed_and_finished_by_another() -> None:
    revoked = FakeReplay(0, [50])

    def revoke(harness: Harness) -> None:
        if revoked.progress.events_next == 50 and harness.partitions:
            harness.partitions = set()
            harness.on_lost({0})
            assert revoked.closed
            harness.known[0] = Progress(END, 0, done=True)

    harness = Harness([revoked], {0}, on_member_poll=revoke)
    assert harness.run()[0].done
    assert harness.opened == [0]


def test_a_partition_finished_by_another_is_noticed_at_once() -> None:
    harness = Harness([None], {0})
    harness.journal_answers = [
        (harness.plan, {0: Progress(50, 0), 1: Progress(END, 0, done=True), 2: Progress(END, 0, done=True)})
    ]
    harness.known[0] = Progress(END, 0, done=True)
    assert harness.run()[0].done
    assert harness.clock.now_s < 1.0


def test_reading_stops_at_the_limit_of_in_flight_texts() -> None:
    read: list[int] = []
    busy = FakeReplay(0, [10, 20, 30, END], in_flight=10, on_read=read.append)
    harness = Harness([busy], {0})
    harness.run()
    assert read == []
    freed = FakeReplay(0, [10, 20, 30, END], in_flight=9, on_read=read.append)
    Harness([freed], {0}).run()
    assert read == [0, 0, 0]


def test_partitions_are_read_in_turns_except_blocked_ones() -> None:
    read: list[int] = []
    both = [FakeReplay(n, [10, 20, 30, 40, END], on_read=read.append) for n in (0, 1)]
    Harness(list(both), {0, 1}).run()
    assert sorted(read[:4]) == [0, 0, 1, 1]
    read.clear()
    stuck = FakeReplay(0, [10, 20, 30, END], can_read=False)
    Harness([stuck, FakeReplay(1, [10, 20, 30, END], on_read=read.append)], {0, 1}).run()
    assert read == [1, 1, 1]


def test_a_failed_journal_read_is_repeated() -> None:
    unavailable = KafkaException(KafkaError(KafkaError._TRANSPORT))
    harness = Harness([FakeReplay(0, [10] * 30 + [END], can_read=False)], {0}, journal_answers=[unavailable])
    assert harness.run().keys() == {0, 1, 2}


@pytest.mark.parametrize("found", [None, (plan_of({}, created_at_ms=78), {})])
def test_missing_or_foreign_progress_ends_the_replay(found: Any) -> None:
    harness = Harness([FakeReplay(0, [])], {0}, journal_answers=[found])
    with pytest.raises(
        PlanError, match=r"progress of replay 'again' is missing or belongs to another plan.*another id"
    ):
        harness.run()
    assert harness.member_closed
