"""A running worker hands over examples to the trainer, and adopts a new champion."""

import shutil
import time
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model.registry import ModelRegistry
from schemas.records import BehaviorEvent, Outcome
from sway.cli import app
from tests.integration.conftest import wait_for
from tests.integration.handovers import audit, requests
from tests.integration.workers import Sway
from tests.support.tiny import publish_tiny

NOW_MS = int(time.time() * 1000)


def event(number: int) -> BehaviorEvent:
    return BehaviorEvent(f"e{number}", f"user-{number % 3}", "watch", NOW_MS + number, item_text="alien")


def produce_examples(sway: Sway, numbers: range) -> None:
    """Produce events with outcomes; each pair becomes an example."""
    for number in numbers:
        sway.produce(event(number))
        sway.produce(Outcome(f"e{number}", f"user-{number % 3}", float(number % 2), NOW_MS + number + 1))
    sway.flush()


def test_a_worker_hands_over_again_after_being_fenced(sway: Sway, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = sway.create_topics(partitions=2).worker(SWAY_HANDOVER__MIN_EXAMPLES=5).start()
    worker.wait_until_ready()
    produce_examples(sway, range(7))
    wait_for(lambda: worker.metric("sway_handovers_total") == 1, "a request")
    wait_for(lambda: worker.metric("sway_handover_examples_waiting") == 2, "two waiting examples")
    assert worker.metric("sway_handover_leader") == 1

    for name, value in sway.environment.items():
        monkeypatch.setenv(name, value)
    by_hand = CliRunner().invoke(app, ["handoff"])
    assert by_hand.exit_code == 0, by_hand.output
    assert "2 examples (forced)" in by_hand.output

    produce_examples(sway, range(7, 12))
    wait_for(lambda: worker.metric("sway_handovers_total") == 2, "a request after the fencing")
    assert worker.terminate() == 0
    made = [(request.reason, request.examples) for request in requests(sway.topics)]
    assert made == [("labels", 5), ("forced", 2), ("labels", 5)]
    audit(sway.topics, partitions=2)
    assert "Traceback" not in worker.log_text()


def test_a_worker_adopts_new_champions_and_refuses_broken_ones(
    sway: Sway, registry: Path, tiny_base: Path, tmp_path: Path
) -> None:
    shutil.copytree(registry, tmp_path / "registry")
    models = ModelRegistry(tmp_path / "registry")
    worker = sway.create_topics(partitions=2).worker(
        SWAY_MODEL__REGISTRY=tmp_path / "registry", SWAY_MODEL__POLL_INTERVAL_S=0.2
    )
    worker.start().wait_until_ready()
    numbers = count()

    def produce() -> None:
        for _ in range(3):
            sway.produce(event(next(numbers)))
        sway.flush()

    def stream_until(metric: str, value: float) -> None:
        """Produce events until the metric has the value, and some more afterwards."""

        def there() -> bool:
            produce()
            return worker.metric(metric) == value

        wait_for(there, f"{metric} {value:g}")
        produce()

    produce()
    sway.wait_for_answers(3)
    models.promote(publish_tiny(models, "second", tiny_base, tmp_path / "second", seed=3))
    stream_until("sway_model_swaps_total", 1)

    publish_tiny(models, "third", tiny_base, tmp_path / "third", seed=4)
    weights = tmp_path / "registry" / "versions" / "third" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    models.promote("third")
    stream_until("sway_champion_alarm", 1)
    assert worker.metric('sway_champion_refused_total{reason="corrupt"}') == 1

    models.promote("second")
    stream_until("sway_champion_alarm", 0)
    assert worker.metric("sway_model_swaps_total") == 1
    produced = next(numbers)
    sway.wait_for_answers(produced)
    assert worker.terminate() == 0

    scores = sorted(sway.scores(), key=lambda score: int(score.event_id[1:]))
    assert [score.event_id for score in scores] == [f"e{number}" for number in range(produced)]
    assert scores[0].model_version == "tiny"
    assert scores[-1].model_version == "second"
    for user in ("user-0", "user-1", "user-2"):
        versions = [score.model_version for score in scores if score.user_id == user]
        assert versions == sorted(versions, key=["tiny", "second"].index)  # never back to the older version
