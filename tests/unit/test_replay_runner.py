"""The runner between its seams: which partitions it takes, which it takes again, and when it ends."""

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
AWAY = RegistryUnavailable("the registry is away")


@dataclass
class FakeReplay:
    """What becomes of it, a poll at a time: progress, or an error; done after the last of them unless that failed."""

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
    """Time goes on when the runner waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now_s += timeout or 0.0
        return self.is_set()


@dataclass
class World:
    """A replay's group, its journal, and the partitions that a process is to open one after the other."""

    replays: Sequence[FakeReplay | Exception | None]
    partitions: set[int]
    looks: list[Any] = field(default_factory=list)
    """what the journal says first; afterwards what is known to be done"""
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
    on_member_poll: Callable[["World"], None] = lambda _world: None
    on_lost: Callable[[set[int]], None] = lambda _partitions: None

    def __post_init__(self) -> None:
        part = PartitionPlan(Span(0, 0), Span(0, END), Span(END, END), Span(0, 0))
        self.plan = ReplayPlan("again", "v1", False, "parquet", "d", 77, {}, dict.fromkeys((0, 1, 2), part))
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
        if not self.looks:
            for one in replays(self):
                if one.progress.events_next > self.known[one.number].events_next:
                    self.known[one.number] = one.progress
            return self.plan, dict(self.known)
        found: tuple[ReplayPlan, dict[int, Progress]] | None = self.looks.pop(0)
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
    """What a read of a partition does when it fails."""

    def read(_number: int) -> None:
        raise error

    return read


def replays(world: World) -> list[FakeReplay]:
    return [one for one in world.replays if isinstance(one, FakeReplay)]


def test_all_partitions_are_worked_on_a_few_at_a_time_until_all_are_done() -> None:
    world = World([FakeReplay(n, [50, END]) for n in range(3)], {0, 1, 2})
    done = world.run()
    assert {number: one.done for number, one in done.items()} == dict.fromkeys(range(3), True)
    assert world.opened == [0, 1, 2]
    assert world.most_open == 2
    assert all(one.closed for one in replays(world))
    assert world.member_closed
    last = world.reports[-1]
    assert (last.partitions, last.learnt, last.ahead) == (done, 3 * 7, 0)


def test_partitions_that_are_not_in_the_plan_and_those_that_are_done_are_left_alone() -> None:
    world = World([FakeReplay(0, [END])], {0, 9})
    assert world.run().keys() == {0, 1, 2}
    assert world.opened == [0]


def test_a_report_comes_with_each_commit() -> None:
    world = World([FakeReplay(0, [0, 50, 50, END], uncommitted=5)], {0}, waiting_texts=2)
    world.run()
    told = [
        (report.partitions[0].events_next, report.ahead) for report in world.reports if 0 in report.partitions
    ]
    assert [one for one in told if one[0] == 50] == [(50, 3)]
    assert told[-1] == (END, 0)


@pytest.mark.parametrize("error", [FENCED, FatalTransactionError("its outcome is unknown")])
def test_a_partition_that_fails_is_let_go_of_and_taken_again_after_a_pause(error: Exception) -> None:
    world = World([FakeReplay(0, [50, error]), FakeReplay(0, [END])], {0})
    assert world.run()[0].done
    assert [one.closed for one in replays(world)] == [True, True]
    assert world.opened_at_s[1] - world.opened_at_s[0] >= 2.0


@pytest.mark.parametrize(
    "error",
    [
        StoreError("in use"),
        StartError("no answer"),
        KafkaException(KafkaError(KafkaError._TRANSPORT)),
        NoAnswerError("nobody says"),
        AWAY,  # an old score needs it
    ],
)
def test_a_partition_that_cannot_be_opened_yet_is_tried_again_while_others_are_worked_on(
    error: Exception,
) -> None:
    world = World([error, FakeReplay(1, [END]), error, FakeReplay(0, [END])], {0, 1})
    assert world.run()[0].done
    assert world.opened == [0, 1, 0, 0]


def test_a_partition_that_is_lost_again_and_again_without_progress_ends_the_replay() -> None:
    world = World([FakeReplay(0, [50, FENCED]) for _ in range(MAX_RETRIES + 1)], {0})
    with pytest.raises(
        ReplayError,
        match=rf"Partition 0 failed {MAX_RETRIES + 1} times .* the last error: another took it",
    ):
        world.run()
    assert len(world.opened) == MAX_RETRIES + 1
    assert all(one.closed for one in replays(world))
    assert world.member_closed


@pytest.mark.parametrize("error", [AWAY, NoAnswerError("nobody says")])
def test_what_cannot_be_read_yet_is_let_go_of_and_taken_again_after_a_pause(error: Exception) -> None:
    polls: list[float] = []
    world = World(
        [FakeReplay(0, [50], on_read=raising(error)), FakeReplay(0, [END])],
        {0},
        on_member_poll=lambda world: polls.append(world.clock.now_s),
    )
    assert world.run()[0].done
    assert [one.closed for one in replays(world)] == [True, True]
    assert world.opened_at_s[1] - world.opened_at_s[0] >= 2.0
    assert len([at for at in polls if at < world.opened_at_s[1]]) >= 5  # the group keeps us meanwhile


def test_what_cannot_be_read_for_minutes_ends_the_replay() -> None:
    world = World([FakeReplay(0, [50], on_read=raising(AWAY)) for _ in range(MAX_RETRIES + 1)], {0})
    kept = "the registry is away Completed work is kept; run the same command"
    with pytest.raises(ReplayError, match=rf"failed {MAX_RETRIES + 1} times .* error: {kept}"):
        world.run()
    assert 240 < world.clock.now_s < 360
    assert all(one.closed for one in replays(world))


def test_a_stop_is_seen_while_the_schema_registry_is_away() -> None:
    world = World([AWAY, FakeReplay(1, [50])], {0, 1})

    def stop(number: int) -> None:
        world.runner.stop()
        raise AWAY

    replays(world)[0].on_read = stop
    assert world.run()[1] == Progress(50, 0)
    assert world.opened == [0, 1]


def test_nothing_more_is_opened_after_a_stop() -> None:
    world = World([AWAY], {0, 1})
    open_partition = world.open_partition

    def stopping(number: int) -> FakeReplay | None:
        world.runner.stop()
        return open_partition(number)

    world.open_partition = stopping  # type: ignore[method-assign]
    world.run()
    assert world.opened == [0]


def test_a_partition_that_comes_further_each_time_may_be_lost_as_often_as_it_is() -> None:
    world = World(
        [FakeReplay(0, [n, FENCED]) for n in range(1, MAX_RETRIES + 10)] + [FakeReplay(0, [END])], {0}
    )
    assert world.run()[0].done


def test_another_error_ends_the_replay_with_everything_closed() -> None:
    world = World([FakeReplay(0, [50, StoreError("disk full")]), FakeReplay(1, [50])], {0, 1})
    with pytest.raises(StoreError, match="disk full"):
        world.run()
    assert all(one.closed for one in replays(world))
    assert world.member_closed


def test_stop_ends_it_before_it_is_done_with_everything_closed() -> None:
    stopping = FakeReplay(0, [50])
    world = World([stopping], {0})
    stopping.on_read = lambda _: world.runner.stop()
    assert world.run()[0] == Progress(50, 0)
    assert stopping.closed
    assert world.member_closed


def test_a_partition_that_the_group_takes_away_is_closed_and_another_may_finish_it() -> None:
    lost = FakeReplay(0, [50])

    def take_away(world: World) -> None:
        if lost.progress.events_next == 50 and world.partitions:
            world.partitions = set()
            world.on_lost({0})
            assert lost.closed
            world.known[0] = Progress(END, 0, done=True)

    world = World([lost], {0}, on_member_poll=take_away)
    assert world.run()[0].done
    assert world.opened == [0]


def test_a_partition_that_another_has_done_meanwhile_is_looked_up_at_once() -> None:
    world = World([None], {0})
    world.looks = [
        (world.plan, {0: Progress(50, 0), 1: Progress(END, 0, done=True), 2: Progress(END, 0, done=True)})
    ]
    world.known[0] = Progress(END, 0, done=True)
    assert world.run()[0].done
    assert world.clock.now_s < 1.0


def test_nothing_is_read_while_as_many_texts_wait_for_the_model_as_are_allowed() -> None:
    read: list[int] = []
    busy = FakeReplay(0, [10, 20, 30, END], in_flight=10, on_read=read.append)
    world = World([busy], {0})
    world.run()
    assert read == []
    freed = FakeReplay(0, [10, 20, 30, END], in_flight=9, on_read=read.append)
    World([freed], {0}).run()
    assert read == [0, 0, 0]


def test_partitions_are_read_in_turns_and_one_that_cannot_be_is_passed_over() -> None:
    read: list[int] = []
    both = [FakeReplay(n, [10, 20, 30, 40, END], on_read=read.append) for n in (0, 1)]
    World(list(both), {0, 1}).run()
    assert sorted(read[:4]) == [0, 0, 1, 1]
    read.clear()
    stuck = FakeReplay(0, [10, 20, 30, END], can_read=False)
    World([stuck, FakeReplay(1, [10, 20, 30, END], on_read=read.append)], {0, 1}).run()
    assert read == [1, 1, 1]


def test_a_look_that_fails_is_repeated() -> None:
    away = KafkaException(KafkaError(KafkaError._TRANSPORT))
    world = World([FakeReplay(0, [10] * 30 + [END], can_read=False)], {0}, looks=[away])
    assert world.run().keys() == {0, 1, 2}


@pytest.mark.parametrize("found", [None, (ReplayPlan("again", "v1", False, "", "", 78, {}, {}), {})])
def test_progress_that_is_gone_or_of_another_plan_ends_the_replay(found: Any) -> None:
    world = World([FakeReplay(0, [])], {0}, looks=[found])
    with pytest.raises(
        PlanError, match=r"progress of replay 'again' is missing or belongs to another plan.*another id"
    ):
        world.run()
    assert world.member_closed
