"""Long-lived parts leave no thread, open file or memory behind after a hundred cycles of open and close.

The Kafka clients are fakes here. tests/integration/test_nothing_is_left_open.py uses real ones.
"""

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from model.loaded import LoadedModel
from model.registry import ModelRegistry
from model.scorer import MicroBatcher
from schemas.records import TrainingRequest
from schemas.registry import RegistryResolver, connect
from schemas.wire import Codec
from stream.exactly_once.kafka import transactions
from stream.exactly_once.kafka.bounded import CallThread
from stream.exactly_once.kafka.offsets import Cancelled, Starts
from stream.exactly_once.kafka.store import PartitionStore, Position, StateFolder
from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.errors import TransactionEndedError
from stream.exactly_once.units.records import TopicPartition
from stream.exactly_once.units.topic_ids import Committed
from stream.handover import leader as leader_module
from stream.handover import watch
from stream.handover.leader import HandoverLeader
from stream.handover.rule import HandoverRule
from stream.worker.champion import ChampionWatcher
from stream.worker.metrics import WorkerMetrics
from tests.support.holding import leaves_behind
from tests.support.running_engine import Running
from tests.support.scripted_producer import ScriptedProducer
from tests.unit.model.scoring_models import EchoModel, encoded

TIMES = 100
EXAMPLES_0 = TopicPartition("examples", 0)


class FakeConsumer:
    """A consumer without records."""

    def assign(self, _partitions: Any) -> None: ...

    def consume(self, _count: int, _timeout_s: float) -> list[Any]:
        return []

    def consumer_group_metadata(self) -> bytes:
        return b"metadata"

    def close(self) -> None: ...


@pytest.fixture
def fake_kafka(monkeypatch: pytest.MonkeyPatch) -> ScriptedProducer:
    """Replace the Kafka clients of writers and leaders; return the producer that all writers share."""
    producer = ScriptedProducer()
    monkeypatch.setattr(transactions, "Producer", lambda _config: producer)
    monkeypatch.setattr(leader_module, "partition_counts", lambda *_: {"examples": 1, "training": 1})
    monkeypatch.setattr(leader_module, "reader", lambda *_args, **_options: FakeConsumer())
    monkeypatch.setattr(leader_module, "stable_offsets", lambda *_: {EXAMPLES_0: Committed(7)})
    monkeypatch.setattr(leader_module, "start_offsets", lambda *_: Starts({EXAMPLES_0: 7}))
    return producer


def make_leader(_cancelled: Any = None) -> HandoverLeader:
    return HandoverLeader(
        {},
        "app-handover",
        examples="examples",
        training="training",
        codec=Codec(TrainingRequest),
        rule=HandoverRule(10, 1000),
    )


def commit(writer: TransactionWriter) -> None:
    writer.commit([], {EXAMPLES_0: 1}, b"metadata", {})


@pytest.mark.usefixtures("fake_kafka")
def test_a_transaction_writer_leaves_nothing_open() -> None:
    def cycle() -> None:
        writer = TransactionWriter({}, "app-slot", transaction_timeout_s=1.0, max_record_bytes=100)
        writer.init(1.0)
        commit(writer)
        writer.close()

    assert leaves_behind(cycle, TIMES) == ""


def test_a_replaced_producer_leaves_nothing_open(
    fake_kafka: ScriptedProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "_GRACE_S", 0.0)

    def cycle() -> None:
        fake_kafka.hangs = threading.Event()
        writer = TransactionWriter({}, "app-slot", transaction_timeout_s=0.0, max_record_bytes=100)
        with pytest.raises(TransactionEndedError):
            commit(writer)
        fake_kafka.hangs.set()
        writer.close()

    assert leaves_behind(cycle, TIMES) == ""


def test_a_call_thread_leaves_nothing_open() -> None:
    def cycle() -> None:
        calls = CallThread("calls")
        assert calls.call(lambda: 1, 10.0) == 1
        calls.close()

    assert leaves_behind(cycle, TIMES) == ""


@pytest.mark.usefixtures("fake_kafka")
def test_a_handover_leader_leaves_nothing_open() -> None:
    def cycle() -> None:
        with make_leader() as leader:
            leader.read(0.0)

    assert leaves_behind(cycle, TIMES) == ""


def test_a_leader_that_fails_to_start_leaves_nothing_open(
    fake_kafka: ScriptedProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(*_: Any) -> None:
        raise Cancelled

    monkeypatch.setattr(leader_module, "stable_offsets", cancelled)

    def cycle() -> None:
        with suppress(Cancelled):
            make_leader()

    assert leaves_behind(cycle, TIMES) == ""
    assert fake_kafka.calls.count("init") >= TIMES


@pytest.mark.usefixtures("fake_kafka")
def test_terms_of_the_handover_thread_leave_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_READ_S", 0.0)
    terms = threading.Semaphore(0)

    def make(cancelled: Any) -> HandoverLeader:
        terms.release()
        return make_leader(cancelled)

    thread = watch.HandoverThread(lambda: True, make, WorkerMetrics(), term_s=0.0)
    thread.start()
    try:
        assert leaves_behind(lambda: terms.acquire(timeout=10), TIMES) == ""
    finally:
        thread.stop()
        assert thread.join(10)


def test_a_partition_store_leaves_nothing_open(tmp_path: Path) -> None:
    def cycle() -> None:
        store = PartitionStore(tmp_path / "partition-00000")
        store.write([("users", b"ann", b"1")], {"users": Position("id", 1, 1)})
        store.close()

    assert leaves_behind(cycle, TIMES) == ""


def test_a_state_folder_leaves_nothing_open(tmp_path: Path) -> None:
    def cycle() -> None:
        folder = StateFolder(tmp_path)
        folder.open("slot")
        folder.close()

    assert leaves_behind(cycle, TIMES) == ""


async def test_an_engine_with_an_epoch_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cycle() -> None:
        async with Running(tmp_path, monkeypatch) as worker:
            await worker.begin()
            worker.take(0, "a", "b")
            await worker.idle()

    loop = asyncio.get_running_loop()

    def run_cycle() -> None:
        asyncio.run_coroutine_threadsafe(cycle(), loop).result(60)

    assert await asyncio.to_thread(leaves_behind, run_cycle, TIMES) == ""


def test_a_micro_batcher_leaves_nothing_open() -> None:
    def cycle() -> None:
        batcher = MicroBatcher(EchoModel())
        assert batcher.submit([encoded(5)]).result(30).failed == {}
        batcher.close()

    assert leaves_behind(cycle, TIMES) == ""


def test_a_champion_watcher_leaves_nothing_open(tiny_model: LoadedModel, tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)

    def cycle() -> None:
        watcher = ChampionWatcher(
            registry,
            tiny_model,
            lambda *_: tiny_model,
            lambda _model: None,
            WorkerMetrics(),
            poll_interval_s=0.001,
        )
        watcher.start()
        watcher.poll()
        watcher.stop()

    assert leaves_behind(cycle, TIMES) == ""


def test_worker_metrics_leave_nothing_open() -> None:
    assert leaves_behind(lambda: WorkerMetrics().render(), TIMES) == ""


def test_a_schema_registry_client_leaves_nothing_open() -> None:
    def cycle() -> None:
        RegistryResolver(connect("http://127.0.0.1:1"))

    # Fewer cycles: each connection reads the system's certificates for 50 ms.
    assert leaves_behind(cycle, 20, warm_up=3) == ""
