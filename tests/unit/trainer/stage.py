"""A registry with a champion and a request handler, for tests of training requests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model import checkpoint
from model.loading import joint
from model.manifest import Manifest
from model.network import TwoHeadedNetwork
from model.registry import ModelRegistry
from schemas.records import OffsetRange, TrainingRequest
from trainer.config import TrainingConfig
from trainer.dataset import Example
from trainer.gate import GateSettings
from trainer.progress import Progress
from trainer.request import RequestConfig, RequestHandler

RANGES = [OffsetRange("t.examples", 0, 0, 400)]
REQUEST = TrainingRequest("r1", RANGES, examples=400, created_at=0, reason="labels")
TRAINING = TrainingConfig(
    epochs=6, batch_rows=16, learning_rate=1e-3, trained_layers=1, tensorboard=False, threads=1
)


class Killed(BaseException):
    """Raised where the process is killed."""


def examples(count: int = 400, *, mislead_until: int = 0) -> list[Example]:
    """Return examples of liked and disliked items. mislead_until: labels before this time are inverted."""
    found = []
    for index in range(count):
        liked = index % 2 == 0
        y = float(liked != (index < mislead_until))
        words = "watch heat crime" if liked else "watch gigli comedy"
        found.append(Example("watch alien liked", words, y, y, index, f"u{index % 61}", f"i{index % 2}"))
    return found


class Stage:
    """A registry with a champion, and a request handler that can be killed."""

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
