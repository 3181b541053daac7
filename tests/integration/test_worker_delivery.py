"""Two workers, one killed and restarted: each event has one score or dead letter, and the state equals a plain loop."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from model.loading import joint
from model.registry import ModelRegistry
from model.tokens import EncodedText
from schemas.records import InfluenceScore
from tests.faults.answers import Answers
from tests.faults.audit import audit, is_due
from tests.faults.load import Given, inputs
from tests.integration.conftest import wait_for
from tests.integration.workers import Sway, Worker

pytestmark = pytest.mark.faults

INPUTS = 2700


def feed(sway: Sway, source: Iterator[Given], count: int) -> None:
    """Produce the next inputs."""
    for given in islice(source, count):
        raw = given.what is None or isinstance(given.what, bytes)
        sway.produce(given.what, key="user-1" if raw else None, reason=given.reason)
    sway.flush()


@pytest.fixture
def workers(sway: Sway) -> dict[str, Worker]:
    """Two workers with small units, so that several are open at once."""
    sway.create_topics()
    limits = {"SWAY_UNITS__MAX_RECORDS": 40, "SWAY_UNITS__LINGER_S": 0.01}
    started = {name: sway.worker(name, **limits).start() for name in "ab"}
    for worker in started.values():
        worker.wait_until_ready()
    return started


def test_every_event_gets_exactly_one_score_or_dead_letter(
    sway: Sway, workers: dict[str, Worker], registry: Path
) -> None:
    source = inputs()
    first, second = workers.values()
    feed(sway, source, 900)
    second.kill()
    feed(sway, source, 900)
    second.start()
    feed(sway, source, INPUTS - 1800)
    with Answers(sway) as answers:
        due = sum(is_due(sway, where, what) for where, what in sway.produced)
        wait_for(lambda: answers.read() >= due, "an answer to each event", timeout_s=90)
        second.wait_until_ready()
        check_metrics([first, second])
        assert [first.terminate(), second.terminate()] == [0, 0]
        found = audit(sway, registry, answers)
    assert (found.lost, found.duplicates, found.problems) == (0, 0, [])
    check_scores(found.texts, registry)
    assert len(found.texts) == found.scores > 0.6 * INPUTS


def check_metrics(workers: list[Worker]) -> None:
    """Wait until both workers are idle with partitions, and check the metrics of the one that was not killed."""
    wait_for(lambda: all(map(is_idle, workers)), "idleness of both")
    alive = workers[0]
    assert alive.metric("sway_scores_total") > 0
    assert alive.metric("sway_events_total") >= alive.metric("sway_scores_total")
    assert alive.metric('sway_dead_letters_total{reason="bad_magic"}') > 0
    assert alive.metric('sway_outcomes_total{result="joined"}') > 0
    assert alive.metric("sway_batch_fill_count") > 0
    assert alive.metric("sway_latency_seconds_count") > 0
    assert alive.metric('sway_model{device="cpu",dtype="fp32",version="tiny"}') == 1


def is_idle(worker: Worker) -> bool:
    lag = [line for line in worker.page("/metrics")[1].splitlines() if line.startswith("sway_lag_records{")]
    busy = worker.metric("sway_in_flight_records") or any(not line.endswith(" 0.0") for line in lag)
    return worker.metric("sway_ready") == 1 and bool(lag) and not busy


def check_scores(texts: list[tuple[InfluenceScore, EncodedText]], registry: Path) -> None:
    """Check that the published scores are the model's scores of these texts."""
    model = joint(ModelRegistry(registry).load("tiny", dtype="fp32"))
    for start in range(0, len(texts), 64):
        part = texts[start : start + 64]
        wanted = model.score_texts([text for _score, text in part]).numpy()
        found = np.array([(score.y_hat, score.z_hat) for score, _text in part])
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert {score.model_version for score, _text in texts} == {"tiny"}
