"""A training request comes to one verdict, whatever interrupts it where."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import checkpoint
from model.errors import PromotionConflict
from model.manifest import Manifest
from model.network import TwoHeadedNetwork
from model.registry import ModelRegistry
from schemas.records import OffsetRange, TrainingRequest
from trainer.config import TrainingConfig
from trainer.dataset import Example
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
        found.append(Example("watch alien liked", words, y, y, index, f"u{index % 7}", f"i{index % 2}"))
    return found


class Stage:
    """A registry with a champion, and a handler of requests that can be killed."""

    def __init__(self, folder: Path, network: TwoHeadedNetwork, base: Path, found: Sequence[Example]) -> None:
        self.registry = ModelRegistry(folder / "registry")
        self.announced: list[tuple[str, str, str]] = []
        self.found = list(found)
        self.kill_at: str | None = None
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
        return self.found, []

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
        model = self.registry.load(version)
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


def test_what_cannot_be_done_is_a_rejection_with_its_reason(stage: Callable[..., Stage]) -> None:
    on = stage(examples(60))
    decision = on.handler().handle(REQUEST)
    assert (decision.event, on.registry.champion()) == (REJECTED, "first")
    assert "15 examples" in decision.reason
    on.found = []
    on.config = RequestConfig(**{**_plain(on.config), "base_name": "again"})
    decision = on.handler().handle(REQUEST)
    assert decision.event == REJECTED
    assert "without examples" in decision.reason
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
