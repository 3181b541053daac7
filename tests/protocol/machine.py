"""A Hypothesis state machine of input, crashes, pauses, rebalances and timeouts between any two steps."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.protocol.broker import State
from tests.protocol.cluster import BROKER, WORKERS, Cluster, Schedule
from tests.protocol.rules import Rules
from tests.protocol.topics import KEYS, PARTITIONS, inputs_of

# The steps of a commit, in order.
COMMIT = (
    "finish the oldest units",
    "begin",
    "produce to output",
    "produce to changelog",
    "send offsets",
    "commit",
    "receive the commit result",
    "write to RocksDB",
    "drop the layers",
)
# The steps of an epoch's start, in order.
START = (
    "join",
    "receive the assignment",
    "fetch the offsets",
    "fetch the changelog's end",
    "read the changelog",
    "adopt the epoch",
    "seek",
    "resume",
)
PLACES = (*COMMIT, *START, "deliver", "take a batch", "score", "revocation timeout")
HELD = st.sampled_from(["", "", "", BROKER, "scorer", "commit", "group", "recovery"])
FAULTS = (
    "start",
    "crash",
    "crash and wipe",
    "stop",
    "pause",
    "wake",
    "expire",
    "time out",
    "seek to committed",
    "seek to committed",
    "rebalance",
    "give up waiting",
)
# Outcomes of an input record's transaction; None for no transaction.
FATES = (None, None, State.COMMITTED, State.ABORTED)
BURST = st.binary(min_size=1, max_size=6)
ANY_WORKER = st.sampled_from(WORKERS)
SEED = st.integers(0, 2**16 - 1)


class ProtocolMachine(RuleBasedStateMachine):
    """The state machine with all rules of the protocol; a subclass may remove one."""

    protocol = Rules()
    places: tuple[str, ...] = COMMIT  # where a hand-over pauses a worker

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(self.protocol)

    @initialize(workers=st.integers(1, 3), burst=st.binary(min_size=4, max_size=8), seed=SEED)
    def begin(self, workers: int, burst: bytes, seed: int) -> None:
        for name in WORKERS[:workers]:
            self.cluster.start(name)
        self._produce(burst)
        self.cluster.run(seed, 30)

    def _produce(self, burst: bytes) -> None:
        """Produce a record per byte, which encodes its input, key, size, and the outcome of its transaction."""
        inputs = inputs_of(tuple(range(PARTITIONS)))
        for byte in burst:
            where, key, size = inputs[byte % 4], KEYS[byte // 4 % 2], 1 + byte // 8 % 8
            self.cluster.produce(where, key, b"x" * size, FATES[byte // 64])

    @rule(burst=BURST)
    def produce(self, burst: bytes) -> None:
        self._produce(burst)

    @rule(picks=st.binary(min_size=1, max_size=12))
    def step(self, picks: bytes) -> None:
        for pick in picks:
            self.cluster.step(pick)

    @rule(seed=SEED, steps=st.integers(5, 60), held=HELD)
    def go_on(self, seed: int, steps: int, held: str) -> None:
        self.cluster.run(seed, steps, Schedule(held))

    @rule(name=ANY_WORKER, place=st.sampled_from(PLACES), seed=SEED, fault=st.sampled_from(FAULTS))
    def run_to(self, name: str, place: str, seed: int, fault: str) -> None:
        """Run a worker to a step, and inject a fault right before it."""
        if self.cluster.run_to(name, place, seed):
            self.happen(fault, name)

    @rule(
        name=ANY_WORKER,
        place=st.integers(0, 2**8 - 1),
        seed=SEED,
        markers=st.lists(st.integers(0, 2), max_size=2),
        burst=BURST,
        successor=ANY_WORKER,
        held=HELD,
        late=st.booleans(),
        wakes=st.booleans(),
    )
    def hand_over(
        self,
        name: str,
        place: int,
        seed: int,
        markers: list[int],
        burst: bytes,
        successor: str,
        held: str,
        late: bool,
        wakes: bool,
    ) -> None:
        """Pause a worker in its commit, expire its session and let others take over; perhaps resume it."""
        self._produce(burst)
        self.cluster.expire_ended_processes()
        for each in WORKERS:
            self.cluster.wake(each)
        self.cluster.start(name)
        if self.cluster.run_to(name, self.places[place % len(self.places)], seed):
            self.cluster.pause(name)
            self._write_markers(name, markers)
            self.cluster.expire(name)
            self.cluster.start(successor)
            self.cluster.run(seed, 100, Schedule(held, late=name if late else ""))
            if wakes:
                self.cluster.wake(name)
                if self.cluster.run_to(name, "receive the commit result", seed, alone=True):
                    self._write_markers(name, markers)
                    self._produce(burst)
                    self.cluster.run(seed, 100, Schedule(late=name))

    def _write_markers(self, name: str, picks: list[int]) -> None:
        for pick in picks:
            self.cluster.write_marker(name, pick)

    @rule(fault=st.sampled_from(FAULTS), name=ANY_WORKER)
    def happen(self, fault: str, name: str) -> None:
        cluster = self.cluster
        if fault == "start":
            cluster.start(name)
        elif fault.startswith("crash"):
            cluster.crash(name, wipe=fault == "crash and wipe")
        elif fault == "stop":
            cluster.stop(name)
        elif fault == "pause":
            cluster.pause(name)
        elif fault == "wake":
            cluster.wake(name)
        elif fault == "expire":
            cluster.expire(name)
        elif fault == "time out":
            cluster.time_out(name)
        elif fault == "seek to committed":
            cluster.seek_to_committed(name)
        elif fault == "rebalance":
            cluster.rebalance()
        else:
            cluster.time_out_rebalance()

    def teardown(self) -> None:
        if not self.cluster.broken:
            self.cluster.end_faults_and_audit()
