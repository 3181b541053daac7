"""Counters increase with commits; gauges show the current state of the engine."""

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from model.scorer import BatchStats
from stream.exactly_once import Unit, Work
from stream.exactly_once.driver.engine import EngineStats
from stream.exactly_once.units.lag import Lag
from stream.exactly_once.units.progress import RecoveryProgress
from stream.exactly_once.units.records import TopicPartition
from stream.scoring.batch import BatchContext
from stream.scoring.labels.labelling import BatchLabels, Labeled
from stream.worker.metrics import WorkerMetrics


def unit_of(*contexts: BatchContext) -> Unit:
    return cast("Unit", SimpleNamespace(works=[Work([], context) for context in contexts]))


def lag(stable_records: int, records: int, *, stable: int, open_transaction_s: float = 0.0) -> Lag:
    return Lag(stable_records, records, stable, open_transaction_s)


def shown(metrics: WorkerMetrics) -> dict[str, float]:
    lines = [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_a_commit_counts_records_by_their_result() -> None:
    metrics = WorkerMetrics()
    pending: Any = SimpleNamespace(record=SimpleNamespace(timestamp=0))
    events = BatchContext(
        0,
        0.5,
        pending=[pending],
        counts=Counter(events=5, scores=3),
        dead_letters=Counter(empty=1, not_finite=1),
    )
    outcomes = BatchContext(
        0,
        0.5,
        labels=BatchLabels(
            labeled=[Labeled("v1", 1.0, 0.75), Labeled("v1", 0.0, 0.25), Labeled("v2", 1.0, 0.5)]
        ),
        counts=Counter(outcomes=4, joined=2, without_event=1, label_outcome=2, label_expiry=1),
        dead_letters=Counter(empty=1),
    )
    metrics.on_commit(unit_of(events, outcomes), 0.2)
    metrics.on_commit(unit_of(events), 0.3)
    values = shown(metrics)
    assert values["sway_events_total"] == 10
    assert values["sway_scores_total"] == 6
    assert values['sway_dead_letters_total{reason="empty"}'] == 3
    assert values['sway_dead_letters_total{reason="not_finite"}'] == 2
    assert values['sway_outcomes_total{result="joined"}'] == 2
    assert values['sway_outcomes_total{result="without_event"}'] == 1
    assert values['sway_labels_total{source="outcome"}'] == 2
    assert values['sway_labels_total{source="expiry"}'] == 1
    assert values['sway_live_mse{version="v1"}'] == pytest.approx(0.0625)
    assert values['sway_live_auc{version="v1"}'] == 1.0
    assert values['sway_live_positive_rate{version="v1"}'] == 0.5
    assert values['sway_live_examples{version="v2"}'] == 1
    # Labels of a single class have no AUC.
    assert 'sway_live_auc{version="v2"}' not in values
    assert values["sway_commit_seconds_sum"] == 0.5
    # Observed once per batch with a text.
    assert values["sway_latency_seconds_count"] == 2


def test_live_figures_cover_the_champion_and_the_newest_versions() -> None:
    metrics = WorkerMetrics()
    metrics.show_model(cast("Any", SimpleNamespace(version="champion", device="cpu", dtype="fp32")))
    for version in ["champion", *(f"v{number}" for number in range(20))]:
        labels = BatchLabels(labeled=[Labeled(version, 1.0, 0.75), Labeled(version, 0.0, 0.25)])
        metrics.on_commit(unit_of(BatchContext(0, 0.5, labels=labels)), 0.1)
        # Every version is shown once.
        metrics.render()
    shown_now = {name.split('"')[1] for name in shown(metrics) if name.startswith("sway_live_")}
    assert shown_now == {"champion", *(f"v{number}" for number in range(13, 20))}


def test_a_record_from_the_future_has_no_negative_latency() -> None:
    metrics = WorkerMetrics()
    pending: Any = SimpleNamespace(record=SimpleNamespace(timestamp=99_999_999_999_999))
    metrics.on_commit(unit_of(BatchContext(0, 0.5, pending=[pending])), 0.0)
    assert shown(metrics)["sway_latency_seconds_sum"] == 0


def test_engine_figures_and_lag_of_owned_partitions_are_shown() -> None:
    metrics = WorkerMetrics()
    stats = EngineStats(in_flight_records=7, epochs=2, fenced_units=1, recovered_records=9)
    first, second = TopicPartition("sway.events", 0), TopicPartition("sway.events", 1)
    metrics.observe(stats, {first: lag(4, 4, stable=4), second: lag(0, 0, stable=4)}, True)
    metrics.observe(stats, {second: lag(5, 8, stable=9, open_transaction_s=2.5)}, False)
    values = shown(metrics)
    assert values['sway_lag_records{partition="1",topic="sway.events"}'] == 5
    assert values['sway_lag_high_watermark_records{partition="1",topic="sway.events"}'] == 8
    assert values['sway_open_transaction_seconds{partition="1",topic="sway.events"}'] == 2.5
    assert not [name for name in values if 'partition="0",topic="sway.events"' in name]
    assert (values["sway_ready"], values["sway_in_flight_records"]) == (0, 7)
    assert (values["sway_epochs"], values["sway_fenced_units"], values["sway_recovered_records"]) == (2, 1, 9)


def test_recovery_progress_is_shown_by_partition() -> None:
    metrics = WorkerMetrics()
    stats = EngineStats()
    changelog = TopicPartition("sway-windows-changelog", 3)
    stats.recovery.begin({changelog: 100}, {changelog: 1000})
    stats.recovery.advance({3: ["a record", "another"]}, {changelog: 150})
    metrics.observe(stats, {}, False)
    values = shown(metrics)
    assert values['sway_recovery_records_read{partition="3"}'] == 2
    assert values['sway_recovery_records_to_go{partition="3"}'] == 850
    stats.recovery = RecoveryProgress()
    metrics.observe(stats, {}, False)
    assert not [name for name in shown(metrics) if name.startswith("sway_recovery_records_")]


def test_a_micro_batch_is_recorded_with_its_fill_and_times() -> None:
    metrics = WorkerMetrics()
    metrics.on_batch(
        BatchStats(
            model_version="v1",
            rows=4,
            tokens=100,
            padded_tokens=128,
            fill=0.5,
            queue_s=0.02,
            pack_s=0.001,
            forward_s=0.25,
            passes=3,
            failed=0,
            waiting_rows=0,
        )
    )
    values = shown(metrics)
    assert values["sway_batch_fill_sum"] == 0.5
    assert values["sway_queue_seconds_sum"] == 0.02
    assert values["sway_forward_seconds_sum"] == 0.25
    assert values["sway_forward_again_total"] == 2
