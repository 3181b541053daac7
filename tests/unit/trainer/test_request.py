"""A training request reaches one verdict, wherever it is interrupted."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import ModelCorrupt, PromotionConflict
from model.manifest import Manifest
from model.network import TwoHeadedNetwork
from model.registry import ModelRegistry
from schemas.records import OffsetRange
from tests.unit.trainer.stage import REQUEST, TRAINING, Killed, Stage, examples
from trainer.dataset import Example
from trainer.errors import RangeError, RangeUnavailable
from trainer.request import PROMOTED, PUBLISHED, REJECTED, RequestConfig


@pytest.fixture
def make_stage(tmp_path: Path, tiny_network: TwoHeadedNetwork, tiny_base: Path) -> Callable[..., Stage]:
    return lambda found=None, folder=tmp_path: Stage(folder, tiny_network, tiny_base, found or examples())


def test_challengers_are_promoted_rejected_and_rolled_back(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    first = stage.scores("first")
    decision = stage.handler().handle(REQUEST)
    better = decision.version
    assert (decision.event, stage.registry.champion()) == (PROMOTED, better)
    assert decision.reason.startswith("promoted: ")
    assert stage.registry.manifest(better).parent == "first"
    assert stage.registry.manifest(better).data["gate"] == 100
    assert stage.registry.reports(better) == ["gate"]
    assert [event for _, event, _ in stage.announced] == [PUBLISHED, PROMOTED]

    # The training labels are inverted, those of the gate are right.
    stage.found = examples(mislead_until=300)
    stage.config = RequestConfig(**{**_plain(stage.config), "older": 7, "base_name": "again"})
    decision = stage.handler().handle(REQUEST)
    assert (decision.event, stage.registry.champion()) == (REJECTED, better)
    # The rejected version stays, with its reason.
    assert stage.registry.exists(decision.version)
    assert stage.registry.verdict(decision.version).reason == decision.reason
    assert "rejected: " in decision.reason

    assert stage.registry.rollback(reason="test") == "first"
    assert np.array_equal(stage.scores(stage.registry.champion() or ""), first)


def _plain(config: RequestConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__slots__}


STEPS = ("read", "training", "before published", "after published", "before promoted", "after promoted")


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_request_reaches_the_same_verdict(make_stage: Callable[..., Stage], step: str) -> None:
    stage = make_stage()
    stage.kill_at = step
    with pytest.raises(Killed):
        stage.handler().handle(REQUEST)
    assert stage.kill_at is None
    decision = stage.handler().handle(REQUEST)
    assert decision.event == PROMOTED
    assert [promotion.version for _, promotion in stage.registry.history()] == ["first", decision.version]
    assert stage.registry.versions() == sorted(["first", decision.version])
    assert {(version, event) for version, event, _ in stage.announced} == {
        (decision.version, PUBLISHED),
        (decision.version, PROMOTED),
    }
    # A repeated request finds its own work.
    again = stage.handler().handle(REQUEST)
    assert (again.version, again.event, again.reason) == (decision.version, decision.event, decision.reason)
    assert len(stage.registry.history()) == 2
    assert not (stage.config.work / decision.version).exists()


def test_a_new_champion_must_be_beaten_as_well(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage()
    promote = stage.registry.promote
    expected: list[Any] = []

    def rival_first(version: str, **how: Any) -> int:
        expected.append(how["expected"])
        if len(expected) == 1:
            promote("first", reason="a rival")
            raise PromotionConflict("another champion by now")
        return promote(version, **how)

    monkeypatch.setattr(stage.registry, "promote", rival_first)
    assert stage.handler().handle(REQUEST).event == PROMOTED
    assert expected == ["first", "first"]


def test_rejected_challengers_are_counted_across_restarts(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()

    def handle(name: str, found: Sequence[Example]) -> dict[str, float]:
        stage.found = list(found)
        once = replace(TRAINING, epochs=1.0)
        stage.config = RequestConfig(**{**_plain(stage.config), "base_name": name, "training": once})
        # A new handler knows only the registry.
        return stage.handler().handle(REQUEST).metrics

    misleading = examples(mislead_until=300)
    few_users = [replace(example, user_id="u1") for example in misleading]
    assert handle("first", misleading)["earlier_challengers"] == 0
    # No comparison, so this challenger does not count.
    assert "p_value" not in handle("few users", few_users)
    second = handle("second", misleading)
    assert second["earlier_challengers"] == 1
    assert second["p_allowed"] == pytest.approx(0.05 / 6)
    stage.registry.promote("first", reason="by hand")
    assert handle("third", misleading)["earlier_challengers"] == 2


def test_an_impossible_request_is_rejected_with_its_reason(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(examples(60))
    decision = stage.handler().handle(REQUEST)
    assert (decision.event, stage.registry.champion()) == (REJECTED, "first")
    assert "15 examples" in decision.reason
    stage.found = []
    stage.config = RequestConfig(**{**_plain(stage.config), "base_name": "again"})
    decision = stage.handler().handle(REQUEST)
    assert decision.event == REJECTED
    assert "contain no examples" in decision.reason
    assert stage.announced[-1][:2] == (decision.version, REJECTED)


def test_a_first_model_starts_from_the_base_and_is_promoted(
    tmp_path: Path, make_stage: Callable[..., Stage], tiny_base: Path
) -> None:
    stage = make_stage()
    stage.registry = ModelRegistry(tmp_path / "empty")
    refused = stage.handler().handle(REQUEST)
    assert "no champion to start from" in refused.reason
    stage.config = RequestConfig(**{**_plain(stage.config), "base": tiny_base, "base_name": "tiny-base"})
    decision = stage.handler().handle(REQUEST)
    assert (decision.event, stage.registry.champion()) == (PROMOTED, decision.version)
    assert stage.registry.manifest(decision.version).base == "tiny-base"


def coarse_times() -> list[Example]:
    """Return examples with fifty at each time, as of events that arrive in one batch."""
    return [replace(example, occurred_at=example.occurred_at // 50) for example in examples()]


def handle_until_killed(stage: Stage, step: str) -> None:
    """Handle the request until the step in which the process is killed."""
    stage.kill_at = step
    with pytest.raises(Killed):
        stage.handler().handle(REQUEST)


def test_a_training_resumes_with_its_original_examples(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(coarse_times())
    stage.older = examples(7)
    handle_until_killed(stage, "training")
    # The partitions interleave differently, and the older examples are past retention.
    stage.found = list(reversed(stage.found))
    stage.older = []
    decision = stage.handler().handle(REQUEST)
    assert decision.event == PROMOTED
    learned = stage.registry.manifest(decision.version).data
    assert sum(learned[part] for part in ("train", "valid", "gate")) == 407
    assert stage.times_read == 1


def test_a_work_folder_of_another_training_is_replaced(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(coarse_times())
    handle_until_killed(stage, "training")
    (kept,) = stage.config.work.glob("*/examples.parquet")
    kept.write_bytes(b"half of it")
    stage.found = list(reversed(stage.found))
    assert stage.handler().handle(REQUEST).event == PROMOTED
    assert stage.times_read == 2


def test_a_corrupt_champion_may_be_replaced_between_tries(
    make_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    stage = make_stage()
    stage.registry.publish(tmp_path / "champion", Manifest("broken", base="tiny", created_at_ms=0))
    stage.registry.promote("broken")
    (tmp_path / "registry" / "versions" / "broken" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelCorrupt):
        stage.handler().handle(REQUEST)
    stage.registry.rollback(reason="it is broken")
    decision = stage.handler().handle(REQUEST)
    assert decision.event == PROMOTED
    assert stage.registry.manifest(decision.version).parent == "first"


@pytest.mark.parametrize(
    "failure", [RangeUnavailable("no record came"), OSError("the disk is full"), ValueError("a bug")]
)
def test_a_failure_that_may_pass_is_no_rejection(
    make_stage: Callable[..., Stage], failure: Exception
) -> None:
    stage = make_stage()

    def unavailable(ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        raise failure

    stage.read = unavailable  # type: ignore[method-assign]
    with pytest.raises(type(failure)):
        stage.handler().handle(REQUEST)
    assert (stage.registry.rejections(), stage.announced) == ([], [])


def test_ranges_past_retention_are_rejected(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()

    def past_retention(ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        raise RangeError("retention has taken what is before 6")

    stage.read = past_retention  # type: ignore[method-assign]
    decision = stage.handler().handle(REQUEST)
    assert (decision.event, decision.reason) == (REJECTED, "rejected: retention has taken what is before 6")


def test_an_abandoned_request_is_rejected_despite_an_unreadable_promotion(
    make_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    stage = make_stage()
    (tmp_path / "registry" / "promotions" / "000001.json").write_bytes(b"no promotion")
    with pytest.raises(ModelCorrupt):
        stage.handler().handle(REQUEST)
    decision = stage.handler().give_up(REQUEST, "it failed too often")
    assert (decision.event, decision.reason) == (REJECTED, "rejected: it failed too often")
    assert stage.registry.rejections() == [decision.version]
    assert stage.announced[-1] == (decision.version, REJECTED, decision.reason)


def test_an_abandoned_request_keeps_its_verdict(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    handle_until_killed(stage, "before promoted")
    decision = stage.handler().give_up(REQUEST, "announcing failed too often")
    assert decision.event == PROMOTED
    assert stage.registry.rejections() == []


def test_a_version_published_by_another_trainer_is_used(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stage = make_stage()
    publish = stage.registry.publish

    def rival_first(folder: Path, manifest: Manifest) -> str:
        publish(tmp_path / "champion", replace(manifest, metrics={"rival": 1.0}))
        return publish(folder, manifest)

    monkeypatch.setattr(stage.registry, "publish", rival_first)
    decision = stage.handler().handle(REQUEST)
    assert stage.registry.manifest(decision.version).metrics == {"rival": 1.0}
    # The published version is a copy of the champion, so it is no better.
    assert decision.event == REJECTED


def test_unavailable_storage_differs_from_corrupt_files(
    make_stage: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage()
    (tmp_path / "registry" / "promotions" / "000001.json").write_bytes(b"no promotion")
    assert stage.handler().storage_answers()

    def unavailable() -> list[str]:
        raise OSError("the storage does not answer")

    monkeypatch.setattr(stage.registry, "rejections", unavailable)
    assert not stage.handler().storage_answers()
