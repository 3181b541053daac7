"""The memory of a worker follows its settings, whatever the number of users."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.state_records import (
    DueEntry,
    DueList,
    Estimate,
    ItemRate,
    ItemSums,
    JoinClock,
    PartitionSums,
    PendingLabel,
    ScoredSnapshot,
    Signal,
    Signals,
    UserSums,
)
from stream.exactly_once.kafka.store import StoreMemory
from stream.exactly_once.units.sizes import deep_bytes
from stream.scoring.behaviours import WindowCodec
from stream.scoring.labels.state import (
    EstimatesState,
    ItemsState,
    estimates_codec,
    items_codec,
    pending_codec,
)
from stream.scoring.state_sizes import SHARES, estimates_bytes, items_bytes, pending_bytes, window_bytes
from stream.scoring.windows import History, columns_of
from stream.settings import MEBIBYTE
from tests.support.many_users import Users

VALUES_MB, ROCKSDB_MB = 40, 32


def test_memory_with_many_users_matches_the_settings(tiny_base: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.many_users", str(tiny_base), str(tmp_path / "state")]
    ran = subprocess.run(
        [*command, str(VALUES_MB), str(ROCKSDB_MB)], capture_output=True, text=True, check=False, timeout=600
    )
    assert ran.returncode == 0, ran.stderr
    took = json.loads(ran.stdout)
    grown_mb = took["after"] - took["before"]
    assert 0.85 * (VALUES_MB + ROCKSDB_MB) < grown_mb < 1.15 * (VALUES_MB + ROCKSDB_MB), took
    # The cache of windows was full.
    assert took["windows"] > 0.93 * SHARES["windows"] * VALUES_MB


def test_the_estimated_size_of_a_window_is_accurate(tiny_codec: WindowCodec) -> None:
    users = Users(seed=2)
    windows = [tiny_codec.loads(users.window(tiny_codec)) for _ in range(20)]
    estimated = sum(window_bytes(one) for one in windows)
    for window in windows:
        # This creates the words and columns that a window keeps.
        assert len(History(window, len(window)).newest(5)) == 5
        assert len(columns_of(window, b"")) == len(window)
    assert sum(window_bytes(one) for one in windows) == estimated
    taken = sum(
        deep_bytes((one.body, one.floor, one.outcomes, one.newest, one.pieces, one.columns))
        for one in windows
    )
    assert estimated == pytest.approx(taken, rel=0.15)


AT = 1_700_000_000_000
TEXT = "watch alien 1979 liked ; watch brazil ; " * 10
LABELS = (
    PendingLabel("open", AT, AT + 5, "watch", "item-12345", TEXT, "watch the lamp", 0.5, None),
    PendingLabel("joined", AT, AT + 5),
    DueList([DueEntry(AT + number, f"e6:user-1{number:036d}") for number in range(200)]),
    Signals([Signal(AT + number, "purchase") for number in range(50)], AT),
    JoinClock(AT, 3_000, 3_001, 300, 3_002, 500),
)


@pytest.mark.parametrize("value", LABELS, ids=[f"{type(one).__name__}{i}" for i, one in enumerate(LABELS)])
def test_the_estimated_size_of_a_label_is_accurate(value: object) -> None:
    codec = pending_codec()
    decoded = codec.loads(codec.dumps(value))  # type: ignore[arg-type]
    assert pending_bytes(decoded) == pytest.approx(deep_bytes(decoded), rel=0.2)


ESTIMATES = (Estimate(0.25, 0.5, "v-3f2a90d1c7e4"), ScoredSnapshot(bytes(160 + 36 * 50)))
ITEMS = (
    ItemRate(300, 301, 33.5),
    ItemSums(300, 201.5, 180.25, -1.5, 2.5, AT, bytes(40)),
    UserSums(900, 800, 401.5, 380.25, -1.5, 22.5, 0.25, AT, AT + 5, bytes(12 * 40)),
    PartitionSums(30_000, 15_000.5),
)


@pytest.mark.parametrize("value", ESTIMATES, ids=lambda value: type(value).__name__)
def test_the_estimated_size_of_an_estimate_is_accurate(value: EstimatesState) -> None:
    codec = estimates_codec()
    decoded = codec.loads(codec.dumps(value))
    assert estimates_bytes(decoded) == pytest.approx(deep_bytes(decoded), rel=0.2)


@pytest.mark.parametrize("value", ITEMS, ids=lambda value: type(value).__name__)
def test_the_estimated_size_of_an_item_record_is_accurate(value: ItemsState) -> None:
    codec = items_codec()
    decoded = codec.loads(codec.dumps(value))
    assert items_bytes(decoded) == pytest.approx(deep_bytes(decoded), rel=0.2)


def test_write_buffers_take_at_most_half_of_the_rocksdb_memory() -> None:
    memory = StoreMemory(256 * MEBIBYTE)
    for stores in (4, 12, 100, 250):
        assert 2 * stores * memory.write_buffer_bytes(stores) <= 128 * MEBIBYTE
    assert memory.write_buffer_bytes(1) == memory.write_buffer_bytes(4) == 16 * MEBIBYTE


@pytest.fixture
def tiny_codec(tiny_base: Path) -> WindowCodec:
    from model.text import TextSettings
    from model.tokens import BehaviourTokenizer

    return WindowCodec(BehaviourTokenizer.from_folder(tiny_base, TextSettings(), cached_pieces=10))
