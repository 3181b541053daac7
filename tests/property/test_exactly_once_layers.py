"""Layers and units compared with a plain dictionary, for random units, commits and drops."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream.exactly_once.units.layers import Layers
from stream.exactly_once.units.records import Epoch, RecordBatch
from stream.exactly_once.units.unit import count_fitting, split

KEYS = st.integers(0, 5)


class LayersMachine(RuleBasedStateMachine):
    """Compare layers with a simple model that keeps a full copy of the table for each open unit."""

    @initialize(cached=st.integers(0, 3))
    def start(self, cached: int) -> None:
        self.store: dict[int, int] = {}  # in place of RocksDB
        self.layers: Layers[int, int] = Layers(self.store.get, cached, lambda _key, _value: 1)
        self.open: list[dict[int, int | None]] = []  # real layers, oldest first
        self.views: list[dict[int, int]] = []  # the model: the full table at the end of each open unit
        self.committed: dict[int, int] = {}
        self.value = 0

    @property
    def now(self) -> dict[int, int]:
        return self.views[-1] if self.views else self.committed

    @rule()
    def cut(self) -> None:
        self.open.append(self.layers.open())
        self.views.append(dict(self.now))

    @precondition(lambda self: self.open)
    @rule(key=KEYS)
    def put(self, key: int) -> None:
        self.value += 1
        self.open[-1][key] = self.value
        self.views[-1][key] = self.value

    @precondition(lambda self: self.open)
    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        self.open[-1][key] = None
        self.views[-1].pop(key, None)

    @precondition(lambda self: self.open)
    @rule()
    def commit(self) -> None:
        for key, value in self.open.pop(0).items():
            if value is None:
                self.store.pop(key, None)
            else:
                self.store[key] = value
        self.layers.commit_oldest()
        self.committed = self.views.pop(0)

    @rule()
    def drop(self) -> None:
        self.layers.drop()
        self.open.clear()
        self.views.clear()

    @invariant()
    def reads_equal_the_model(self) -> None:
        if hasattr(self, "layers"):
            assert {key: self.layers.get(key) for key in range(6)} == {
                key: self.now.get(key) for key in range(6)
            }
            assert len(self.layers) == len(self.open)


TestLayers = LayersMachine.TestCase
TestLayers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class FakeRecord:
    """The part of a record that splitting reads."""

    topic, partition, timestamp = "t", 0, 0
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()

    def __init__(self, offset: int) -> None:
        self.offset = offset


@given(
    gaps=st.lists(st.integers(1, 5), min_size=1, max_size=40),
    sizes=st.data(),
    max_records=st.integers(1, 10),
    max_bytes=st.integers(1, 100),
)
def test_splitting_a_batch_keeps_every_record_in_order(
    gaps: list[int], sizes: Any, max_records: int, max_bytes: int
) -> None:
    # Offsets have gaps, as after transaction markers and compaction.
    offsets = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    byte_sizes = sizes.draw(st.lists(st.integers(0, 60), min_size=len(gaps), max_size=len(gaps)))
    rest: RecordBatch | None = RecordBatch(
        "t", 0, [FakeRecord(o) for o in offsets], offsets[0], offsets[-1] + 1, Epoch(1, "m")
    )
    seen: list[int] = []
    reached = offsets[0]
    left = list(byte_sizes)
    while rest is not None:
        count = count_fitting(rest, left, max_records, max_bytes)
        assert 1 <= count <= max_records
        assert count == 1 or sum(left[:count]) <= max_bytes
        part, rest = split(rest, count)
        assert part.base == reached
        reached = part.next
        seen += [record.offset for record in part.records]
        left = left[count:]
    assert seen == offsets
    assert reached == offsets[-1] + 1
