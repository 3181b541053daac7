"""A training request comes to one verdict, whatever interrupts it where."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import checkpoint
from model.errors import ModelCorrupt, PromotionConflict
from model.loading import joint
from model.manifest import Manifest
from model.network import TwoHeadedNetwork
from model.registry import ModelRegistry
from schemas.records import OffsetRange, TrainingRequest
from trainer.config import TrainingConfig
from trainer.dataset import Example
from trainer.errors import RangeError, RangeUnavailable
from trainer.gate import GateSettings
from trainer.progress import Progress
from trainer.request import PROMOTED, PUBLISHED, REJECTED, RequestConfig, RequestHandler

REQUEST = TrainingRequest("r1", [OffsetRange("t.examples", 0, 0, 400)], 400, 0, "labels")
TRAINING = TrainingConfig(
    epochs=6, batch_rows=16, learning_rate=1e-3, trained_layers=1, tensorboard=False, threads=1
)


class Killed(BaseException):
    """The process ends here."""


def examples(count: int = 400, *, mislead_until: int = 0) -> list[Example]:
    """Items that are liked and items that are not; up to a moment the labels say the opposite."""
    found = []
    for index in range(count):
        liked = index % 2 == 0
        y = float(liked != (index < mislead_until))
        words = "watch heat crime" if liked else "watch gigli comedy"
        found.append(Example("watch alien liked", words, y, y, index, f"u{index % 61}", f"i{index % 2}"))
    return found


class Stage:
    """A registry with a champion, and a handler of requests that can be killed."""

    def __init__(self, folder: Path, network: TwoHeadedNetwork, base: Path, found: Sequence[Example]) -> None:
        self.registry = ModelRegistry(folder / "registry")
        self.announced: list[tuple[str, str, str]] = []
        self.found = list(found)
        self.older: list[Example] = []
        self.kill_at: str | None = None
        self.times_read = 0
        self.config = RequestConfig(
            folder / "work",
            TRAINING,
            GateSettings(min_examples=50, max_slowdown=None),
            older=7,
            valid_share=0.1,
        )
        checkpoint.save(network, folder / "champion", tokenizer_from=base)
        self.registry.publish(folder / "champion", Manifest("first", base="tiny", created_at_ms=0))
        self.registry.promote("first")

    def step(self, name: str) -> None:
        if self.kill_at == name:
            self.kill_at = None
            raise Killed

    def read(self, ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        self.step("read")
        assert (list(ranges), older) == (REQUEST.ranges, 7)
        self.times_read += 1
        return self.found, self.older

    def announce(self, version: str, event: str, reason: str, metrics: dict[str, float]) -> None:
        self.step(f"before {event}")
        self.announced.append((version, event, reason))
        self.step(f"after {event}")

    def progress(self, progress: Progress) -> None:
        if progress.stage == "texts: fine-tuning" and progress.done > progress.total // 2:
            self.step("training")

    def handler(self) -> RequestHandler:
        return RequestHandler(self.registry, self.read, self.announce, self.config, progress=self.progress)

    def scores(self, version: str) -> np.ndarray[Any, Any]:
        model = joint(self.registry.load(version))
        texts = model.tokenizer.encode_texts([(one.history, one.target) for one in examples(4)])
        return model.score_texts(texts).numpy()


@pytest.fixture
def stage(tmp_path: Path, tiny_network: TwoHeadedNetwork, tiny_base: Path) -> Callable[..., Stage]:
    return lambda found=None, folder=tmp_path: Stage(folder, tiny_network, tiny_base, found or examples())


def test_a_better_challenger_is_promoted_a_worse_one_refused_and_a_rollback_restores_the_scores(
    stage: Callable[..., Stage],
) -> None:
    on = stage()
    first = on.scores("first")
    decision = on.handler().handle(REQUEST)
    better = decision.version
    assert (decision.event, on.registry.champion()) == (PROMOTED, better)
    assert decision.reason.startswith("promoted: ")
    assert on.registry.manifest(better).parent == "first"
    assert on.registry.manifest(better).data["gate"] == 100
    assert on.registry.reports(better) == ["gate"]
    assert [event for _, event, _ in on.announced] == [PUBLISHED, PROMOTED]

    on.found = examples(mislead_until=300)  # what it learns is wrong, what it is judged by is right
    on.config = RequestConfig(**{**_plain(on.config), "older": 7, "base_name": "again"})
    decision = on.handler().handle(REQUEST)
    assert (decision.event, on.registry.champion()) == (REJECTED, better)
    assert on.registry.exists(decision.version)  # it stays, with the reason
    assert on.registry.verdict(decision.version).reason == decision.reason
    assert "rejected: " in decision.reason

    assert on.registry.rollback(reason="test") == "first"
    assert np.array_equal(on.scores(on.registry.champion() or ""), first)


def _plain(config: RequestConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__slots__}


STEPS = ("read", "training", "before published", "after published", "before promoted", "after promoted")


@pytest.mark.parametrize("step", STEPS)
def test_killed_anywhere_it_comes_to_the_same_end(stage: Callable[..., Stage], step: str) -> None:
    on = stage()
    on.kill_at = step
    with pytest.raises(Killed):
        on.handler().handle(REQUEST)
    assert on.kill_at is None
    decision = on.handler().handle(REQUEST)
    assert decision.event == PROMOTED
    assert [promotion.version for _, promotion in on.registry.history()] == ["first", decision.version]
    assert on.registry.versions() == sorted(["first", decision.version])
    assert {(version, event) for version, event, _ in on.announced} == {
        (decision.version, PUBLISHED),
        (decision.version, PROMOTED),
    }
    again = on.handler().handle(REQUEST)  # read once more: its own work is found
    assert (again.version, again.event, again.reason) == (decision.version, decision.event, decision.reason)
    assert len(on.registry.history()) == 2
    assert not (on.config.work / decision.version).exists()


def test_a_champion_that_changed_meanwhile_must_be_beaten_as_well(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    on = stage()
    promote = on.registry.promote
    expected: list[Any] = []

    def rival_first(version: str, **how: Any) -> int:
        expected.append(how["expected"])
        if len(expected) == 1:
            promote("first", reason="a rival")
            raise PromotionConflict("another champion by now")
        return promote(version, **how)

    monkeypatch.setattr(on.registry, "promote", rival_first)
    assert on.handler().handle(REQUEST).event == PROMOTED
    assert expected == ["first", "first"]


def test_each_rejected_challenger_of_a_champion_counts_also_after_a_restart(
    stage: Callable[..., Stage],
) -> None:
    on = stage()

    def handle(name: str, found: Sequence[Example]) -> dict[str, float]:
        on.found = list(found)
        once = replace(TRAINING, epochs=1.0)
        on.config = RequestConfig(**{**_plain(on.config), "base_name": name, "training": once})
        return on.handler().handle(REQUEST).metrics  # a new handler has the registry alone to remember by

    misleading = examples(mislead_until=300)
    few_users = [replace(example, user_id="u1") for example in misleading]
    assert handle("first", misleading)["earlier_challengers"] == 0
    assert "p_value" not in handle("few users", few_users)  # not compared, so nothing is spent
    second = handle("second", misleading)
    assert second["earlier_challengers"] == 1
    assert second["p_allowed"] == pytest.approx(0.05 / 6)
    on.registry.promote("first", reason="by hand")
    assert handle("third", misleading)["earlier_challengers"] == 2


def test_what_cannot_be_done_is_a_rejection_with_its_reason(stage: Callable[..., Stage]) -> None:
    on = stage(examples(60))
    decision = on.handler().handle(REQUEST)
    assert (decision.event, on.registry.champion()) == (REJECTED, "first")
    assert "15 examples" in decision.reason
    on.found = []
    on.config = RequestConfig(**{**_plain(on.config), "base_name": "again"})
    decision = on.handler().handle(REQUEST)
    assert decision.event == REJECTED
    assert "contain no examples" in decision.reason
    assert on.announced[-1][:2] == (decision.version, REJECTED)


def test_a_first_model_starts_from_the_base_and_is_promoted(
    tmp_path: Path, stage: Callable[..., Stage], tiny_base: Path
) -> None:
    on = stage()
    on.registry = ModelRegistry(tmp_path / "empty")
    refused = on.handler().handle(REQUEST)
    assert "no champion to start from" in refused.reason
    on.config = RequestConfig(**{**_plain(on.config), "base": tiny_base, "base_name": "tiny-base"})
    decision = on.handler().handle(REQUEST)
    assert (decision.event, on.registry.champion()) == (PROMOTED, decision.version)
    assert on.registry.manifest(decision.version).base == "tiny-base"


def coarse_times() -> list[Example]:
    """Fifty examples at each moment, as of events that came in one batch."""
    return [replace(example, occurred_at=example.occurred_at // 50) for example in examples()]


def killed(on: Stage, step: str) -> None:
    on.kill_at = step
    with pytest.raises(Killed):
        on.handler().handle(REQUEST)


def test_a_training_resumes_from_what_it_began_with_whatever_the_topic_gives_by_then(
    stage: Callable[..., Stage],
) -> None:
    on = stage(coarse_times())
    on.older = examples(7)
    killed(on, "training")
    on.found = list(reversed(on.found))  # partitions interleave anew
    on.older = []  # retention has passed them
    decision = on.handler().handle(REQUEST)
    assert decision.event == PROMOTED
    learned = on.registry.manifest(decision.version).data
    assert sum(learned[part] for part in ("train", "valid", "gate")) == 407
    assert on.times_read == 1


def test_a_work_folder_that_holds_another_training_is_begun_anew(stage: Callable[..., Stage]) -> None:
    on = stage(coarse_times())
    killed(on, "training")
    (kept,) = on.config.work.glob("*/examples.parquet")
    kept.write_bytes(b"half of it")
    on.found = list(reversed(on.found))
    assert on.handler().handle(REQUEST).event == PROMOTED
    assert on.times_read == 2


def test_a_champion_that_a_try_could_not_fetch_may_be_replaced_before_the_next(
    stage: Callable[..., Stage], tmp_path: Path
) -> None:
    on = stage()
    on.registry.publish(tmp_path / "champion", Manifest("broken", base="tiny", created_at_ms=0))
    on.registry.promote("broken")
    (tmp_path / "registry" / "versions" / "broken" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelCorrupt):
        on.handler().handle(REQUEST)
    on.registry.rollback(reason="it is broken")
    decision = on.handler().handle(REQUEST)
    assert decision.event == PROMOTED
    assert on.registry.manifest(decision.version).parent == "first"


@pytest.mark.parametrize(
    "failure", [RangeUnavailable("no record came"), OSError("the disk is full"), ValueError("a bug of ours")]
)
def test_what_may_work_later_is_no_rejection(stage: Callable[..., Stage], failure: Exception) -> None:
    on = stage()

    def away(ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        raise failure

    on.read = away  # type: ignore[method-assign]
    with pytest.raises(type(failure)):
        on.handler().handle(REQUEST)
    assert (on.registry.rejections(), on.announced) == ([], [])


def test_ranges_that_retention_has_passed_are_a_rejection(stage: Callable[..., Stage]) -> None:
    on = stage()

    def gone(ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        raise RangeError("retention has taken what is before 6")

    on.read = gone  # type: ignore[method-assign]
    decision = on.handler().handle(REQUEST)
    assert (decision.event, decision.reason) == (REJECTED, "rejected: retention has taken what is before 6")


def test_a_request_that_is_given_up_is_rejected_also_where_a_promotion_cannot_be_read(
    stage: Callable[..., Stage], tmp_path: Path
) -> None:
    on = stage()
    (tmp_path / "registry" / "promotions" / "000001.json").write_bytes(b"no promotion")
    with pytest.raises(ModelCorrupt):
        on.handler().handle(REQUEST)
    decision = on.handler().give_up(REQUEST, "it failed too often")
    assert (decision.event, decision.reason) == (REJECTED, "rejected: it failed too often")
    assert on.registry.rejections() == [decision.version]
    assert on.announced[-1] == (decision.version, REJECTED, decision.reason)


def test_a_request_with_a_verdict_keeps_it_when_it_is_given_up(stage: Callable[..., Stage]) -> None:
    on = stage()
    killed(on, "before promoted")
    decision = on.handler().give_up(REQUEST, "announcing failed too often")
    assert decision.event == PROMOTED
    assert on.registry.rejections() == []


def test_a_version_that_another_trainer_has_published_meanwhile_counts(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on = stage()
    publish = on.registry.publish

    def rival_first(folder: Path, manifest: Manifest) -> str:
        publish(tmp_path / "champion", replace(manifest, metrics={"rival": 1.0}))
        return publish(folder, manifest)

    monkeypatch.setattr(on.registry, "publish", rival_first)
    decision = on.handler().handle(REQUEST)
    assert on.registry.manifest(decision.version).metrics == {"rival": 1.0}
    assert decision.event == REJECTED  # the rival's is the champion's own: no better


def test_storage_that_cannot_be_read_is_told_apart_from_what_is_in_it(
    stage: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = stage()
    (tmp_path / "registry" / "promotions" / "000001.json").write_bytes(b"no promotion")
    assert on.handler().storage_answers()

    def away() -> list[str]:
        raise OSError("the storage does not answer")

    monkeypatch.setattr(on.registry, "rejections", away)
    assert not on.handler().storage_answers()
