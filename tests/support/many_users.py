"""Measure the memory of a worker's tables over real stores, with more users than fit into memory.

    python -m tests.support.many_users MODEL_FOLDER STATE_FOLDER VALUES_MB ROCKSDB_MB

Prints JSON: resident memory in MB before, with stored windows, when full, and after as many writes again.
"""

import gc
import json
import random
import sys
from pathlib import Path
from typing import Any

import psutil

from model.features.state import ItemState, UserTotals
from model.loaded import LoadedModel
from schemas.state_records import Behaviour, Estimate, ItemRate, PendingLabel, ScoredSnapshot, UserSums
from stream.exactly_once.kafka.store import PartitionStore, StateFolder, StoreMemory
from stream.exactly_once.units.layers import Layers
from stream.scoring.behaviours import WindowCodec, entry_of
from stream.scoring.labels.state import item_sums_key, snapshot_key, user_sums_key
from stream.scoring.labels.sums import UserState, item_record, user_record
from stream.scoring.windows import Window, WindowLimits, columns_of, history, insert_new
from stream.settings import MEBIBYTE, MemorySettings, Settings, TextSettings
from stream.worker.app import Components, SwayApp, build_app

PARTITIONS = 8
USERS_A_PARTITION = 1_200
WRITES = 4_500
UNIT = 100
SMALL = 1  # pending labels, estimates with their snapshots, and items per write
LIMITS = WindowLimits()
WORDS = (
    "the",
    "great",
    "red",
    "lamp",
    "story",
    "of",
    "house",
    "dark",
    "night",
    "river",
    "film",
    "1998",
    "love",
)


class _NoScorer:
    def submit(self, jobs: Any) -> Any:
        raise AssertionError("nothing is scored here")


class Users:
    """Random windows; each behaviour has its own words."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)  # noqa: S311
        self._offset = 0

    def behaviour(self) -> Behaviour:
        """Return a new behaviour."""
        self._offset += 1
        words = " ".join(self._draw.choices(WORDS, k=self._draw.randint(2, 8)))
        event_id = f"{self._draw.getrandbits(128):032x}"
        at = 1_700_000_000_000 + self._offset
        return Behaviour(event_id, self._offset, at, "watch", f"item-{self._offset}", words, 12.5)

    def window(self, codec: WindowCodec) -> bytes:
        """Return a full window, encoded."""
        window = Window(tokenizer=codec.tokenizer)
        for behaviour in [self.behaviour() for _ in range(45)]:
            window = insert_new(window, entry_of(behaviour, codec.tokenizer.target(behaviour)), LIMITS)
        return codec.dumps(window)

    def key(self) -> tuple[int, bytes]:
        """Draw a partition and a user."""
        return self._draw.randrange(PARTITIONS), b"user-%d" % self._draw.randrange(USERS_A_PARTITION)


def pending_label(number: int, small: int, history: str) -> PendingLabel:
    """Return an open label whose size is typical; its numbers only make it distinct."""
    return PendingLabel(
        status="open",
        due_at=10**12 + number,
        occurred_at=10**12 + small,
        action="watch",
        item_id=f"item-{number}",
        history=history,
        target=f"watch {number}",
    )


def item_state(number: int) -> ItemState:
    """Return the state of an item with full-length grades."""
    return ItemState(
        outcomes=number + 300,
        y_sum=0.5,
        z_sum=0.25,
        above_mean=number / 7,
        above_user=number / 9,
        last_at_ms=10**12 + number,
        recent=(0.5,) * 10,
    )


def user_totals(number: int) -> UserTotals:
    """Return totals in which every field is set."""
    return UserTotals(
        behaviours=number,
        outcomes=number + 300,
        y_sum=0.5,
        z_sum=number / 7,
        residual_sum=number / 9,
        residual_squares=0.25,
        slow=0.125,
        first_at_ms=10**12,
        last_at_ms=10**12,
    )


def rss_mb() -> float:
    """Return the resident memory of this process."""
    gc.collect()
    return float(psutil.Process().memory_info().rss) / MEBIBYTE


def fill(stores: dict[int, PartitionStore], users: Users, codec: WindowCodec) -> None:
    """Write every user's window, and read it."""
    windows = [users.window(codec) for _ in range(40)]
    for store in stores.values():
        for number in range(USERS_A_PARTITION):
            store.write([("windows", b"user-%d" % number, windows[number % len(windows)])], {})
    for store in stores.values():
        for number in range(USERS_A_PARTITION):
            store.get("windows", b"user-%d" % number)


def write(app: SwayApp, stores: dict[int, PartitionStore], users: Users, codec: WindowCodec) -> None:
    """Read and write as a worker does, unit by unit."""
    tables = {table.name: table for table in app._layered}
    for first in range(0, WRITES, UNIT):
        layers = {name: table.layers.open() for name, table in tables.items()}
        for number in range(first, first + UNIT):
            where = users.key()
            window: Window = tables["windows"].get_in(*where)  # type: ignore[assignment]
            behaviour = users.behaviour()
            entry = entry_of(behaviour, codec.tokenizer.target(behaviour))
            history(window, entry.position).newest(5)
            residuals = tables["items"].get_in(where[0], user_sums_key(where[1]))
            columns_of(window, residuals.residuals if isinstance(residuals, UserSums) else b"")
            layers["windows"][where] = insert_new(window, entry, LIMITS)
            for small in range(SMALL):
                key = f"e9:{behaviour.event_id}-{small}".encode()
                text = " ; ".join([f"watch film {number} liked"] * 12)
                layers["pending"][where[0], key] = pending_label(number, small, text)
                layers["estimates"][where[0], key] = Estimate(number / WRITES, 0.5 / (small + 1), "v-1")
                past = bytes(160) + columns_of(window, b"").past
                layers["estimates"][where[0], snapshot_key(key)] = ScoredSnapshot(past)
                layers["items"][where[0], key] = ItemRate(number + 300, number + 400, number / 7)
                item = item_record(item_state(number))
                layers["items"][where[0], item_sums_key(f"{behaviour.item_id}-{small}")] = item
            user = UserState(user_totals(number), bytes(12 * len(window)))
            layers["items"][where[0], user_sums_key(where[1])] = user_record(user)
        for name, layer in layers.items():
            for (partition, key), value in layer.items():
                stores[partition].write([(name, key, tables[name].dumps(value))], {})
            committed: Layers[Any, Any] = tables[name].layers
            committed.commit_oldest()


def main(model_folder: Path, state: Path, values_mb: int, rocksdb_mb: int) -> dict[str, float]:
    """Fill the tables, write twice, and return the measured memory in MB by name."""
    model = LoadedModel.from_folder("tiny", model_folder, cached_pieces=50)
    settings = Settings(
        state_dir=state,
        memory=MemorySettings(values_mb=values_mb, rocksdb_mb=rocksdb_mb),
        text=TextSettings(cached_behaviours=50),
    )
    app = build_app(settings, Components(model, _NoScorer()))
    memory = StoreMemory(app.config.max_store_memory_bytes)
    folder = StateFolder(state, memory)
    folder.open("slot")
    users = Users(seed=1)
    codec = WindowCodec(model.tokenizer)
    users.window(codec)
    before = rss_mb()
    stores = {number: folder.open_store(number, PARTITIONS) for number in range(PARTITIONS)}
    for table in app._layered:
        table.use_stores(stores)
    fill(stores, users, codec)
    stored = rss_mb()
    write(app, stores, users, codec)
    full = rss_mb()
    write(app, stores, users, codec)
    values = {table.name: table.layers.cached_bytes / MEBIBYTE for table in app._layered}
    after = rss_mb()
    return {
        "before": before,
        "stored": stored,
        "full": full,
        "after": after,
        **values,
        "rocksdb": memory.used_bytes / MEBIBYTE,
    }


if __name__ == "__main__":
    memory_mb = main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.write(json.dumps(memory_mb))
