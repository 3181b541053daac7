"""Requests with both readings: a late challenger against a joint champion and against a late one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from model import checkpoint
from model.features.snapshot import Snapshot
from model.late_model import LateModel
from model.manifest import Manifest
from model.network import TwoHeadedNetwork
from model.reading import Reading
from model.registry import ModelRegistry
from model.tokens import BehaviourTokenizer
from schemas.records import OffsetRange, TrainingRequest
from tests.support.late_examples import audience
from trainer.config import LateTraining, TrainingConfig
from trainer.dataset import Example
from trainer.evaluation.scoring import can_score, measure_in_turns, score_examples
from trainer.gate import GateSettings
from trainer.known_texts import known_texts
from trainer.request import PROMOTED, REJECTED, Decision, RequestConfig, RequestHandler

LATE = LateTraining(numbers_epochs=6, epochs=1, batch_rows=64, learning_rate=1e-2, width=8, heads=2, tower=16)
TRAINING = TrainingConfig(reading=Reading.LATE, late=LATE, tensorboard=False, threads=1)
GATE = GateSettings(min_examples=50, min_users=10, max_slowdown=None)


@dataclass
class Stage:
    """A registry with a joint champion, and the examples that a handler reads."""

    registry: ModelRegistry
    work: Path
    found: list[Example]
    training: TrainingConfig = TRAINING
    announced: list[str] = field(default_factory=list)
    given_knobs: frozenset[str] = frozenset()

    def handle(self, name: str) -> Decision:
        """Handle a request of that name."""
        ranges = [OffsetRange("t.examples", 0, 0, 400)]
        request = TrainingRequest(name, ranges, examples=400, created_at=0, reason="labels")
        config = RequestConfig(self.work, self.training, GATE, older=0, given_knobs=self.given_knobs)
        return RequestHandler(self.registry, self._read, self._announce, config).handle(request)

    def _read(self, ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        assert (len(ranges), older) == (1, 0)
        return self.found, []

    def _announce(self, version: str, event: str, reason: str, metrics: dict[str, float]) -> None:
        self.announced.append(event)


@pytest.fixture
def stage(
    tmp_path: Path, tiny_network: TwoHeadedNetwork, tiny_base: Path, tokenizer: BehaviourTokenizer
) -> Stage:
    registry = ModelRegistry(tmp_path / "registry")
    checkpoint.save(tiny_network, tmp_path / "champion", tokenizer_from=tiny_base)
    registry.publish(tmp_path / "champion", Manifest("first", base="tiny", created_at_ms=0))
    registry.promote("first")
    return Stage(registry, tmp_path / "work", audience(900, tokenizer))


def test_a_late_challenger_replaces_a_joint_champion(stage: Stage, tokenizer: BehaviourTokenizer) -> None:
    decision = stage.handle("one")
    assert (decision.event, stage.registry.champion()) == (PROMOTED, decision.version), decision.reason
    assert decision.metrics["examples"] == 225
    learned = stage.found[: round(900 * 0.75)]
    until_ms = stage.registry.manifest(decision.version).data["to_ms"]
    assert until_ms == learned[-1].occurred_at
    champion = stage.registry.load(decision.version)
    assert isinstance(champion, LateModel)

    # The reading of the start is used. The training labels are wrong.
    stage.training = replace(TRAINING, reading=None)
    stage.found = audience(900, tokenizer, seed=2, contrary_until=675)
    second = stage.handle("two")
    assert second.event == REJECTED
    assert "p_value" in second.metrics
    assert stage.registry.load(second.version).reading is Reading.LATE
    assert stage.registry.manifest(second.version).parent == decision.version
    # With older examples only, the end of the parent's data is kept.
    stage.found = stage.found[:300]
    assert stage.registry.manifest(stage.handle("three").version).data["to_ms"] == until_ms


def test_models_are_compared_on_examples_both_can_read(stage: Stage) -> None:
    stage.found = [
        replace(one, snapshot=None) if place % 3 == 0 else one for place, one in enumerate(stage.found)
    ]
    decision = stage.handle("one")
    assert decision.metrics["examples"] == 150


def test_a_joint_champion_is_not_judged_without_histories(stage: Stage) -> None:
    # A late model writes examples without a history.
    stage.found = [
        replace(one, history="") if place % 3 == 0 else one for place, one in enumerate(stage.found)
    ]
    decision = stage.handle("one")
    assert decision.metrics["examples"] == 150
    stage.training = replace(TRAINING, reading=None)
    assert stage.registry.champion() == decision.version
    # Both models are late now.
    assert stage.handle("two").metrics["examples"] == 225


def test_a_late_champion_rejects_examples_without_snapshots(stage: Stage) -> None:
    late = stage.handle("one")
    assert late.event == PROMOTED
    stage.training = replace(TRAINING, reading=None)
    stage.found = [replace(one, snapshot=None) for one in stage.found]
    decision = stage.handle("two")
    assert decision.event == REJECTED
    assert "learns from snapshots, and 0 of" in decision.reason
    assert stage.registry.champion() == late.version


def test_a_late_model_scores_examples_like_their_events(stage: Stage) -> None:
    model = stage.registry.load(stage.handle("one").version)
    examples = stage.found[:80]
    y_hat, z_hat = score_examples(model, examples)
    assert y_hat.shape == z_hat.shape == (80,)
    assert ((y_hat > 0) & (y_hat < 1)).all()
    alone = [score_examples(model, [one], texts={})[0][0] for one in examples if not _past(one)]
    together = y_hat[[not _past(one) for one in examples]]
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert not can_score(model, replace(examples[0], snapshot=None))
    with pytest.raises(ValueError, match="without a snapshot"):
        score_examples(model, [replace(examples[0], snapshot=None)])


def test_timing_a_model_does_not_change_its_scores(stage: Stage) -> None:
    version, texts = stage.handle("one").version, known_texts(stage.found)
    gate = [replace(one, history="") for one in stage.found[-120:]]
    expected = score_examples(stage.registry.load(version), gate, texts=texts)
    model = stage.registry.load(version)
    # The texts of the past behaviours are unknown.
    (times,) = measure_in_turns([model], gate[:10], {})
    assert 0 < times.warm < 1000
    assert 0 < times.cold < 10_000
    np.testing.assert_allclose(score_examples(model, gate, texts=texts), expected, atol=1e-6)


def test_the_gate_reports_times_with_and_without_cached_vectors(stage: Stage) -> None:
    # A joint champion caches no vectors.
    assert "with an empty vector cache" not in stage.handle("one").reason
    stage.training = replace(TRAINING, reading=None)
    decision = stage.handle("two")
    assert "with an empty vector cache" in decision.reason
    assert decision.metrics["challenger_cold_ms_per_text"] > 0


def test_knobs_of_the_other_reading_reject_a_request(stage: Stage) -> None:
    stage.given_knobs = frozenset({"epochs"})
    decision = stage.handle("one")
    assert decision.event == REJECTED
    assert "sets knobs of the joint one: epochs" in decision.reason


def _past(example: Example) -> int:
    return len(Snapshot.decode(example.snapshot or b"").past)
