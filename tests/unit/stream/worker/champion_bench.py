"""A registry with a champion watcher, for the tests of the watcher."""

from collections.abc import Callable
from pathlib import Path

import torch

from model import checkpoint
from model.loaded import LoadedModel
from model.loading import Model, joint
from model.manifest import Manifest
from model.network import NetworkSettings
from model.registry import ModelRegistry
from model.tokens import BehaviourTokenizer
from stream.worker.champion import ChampionWatcher
from stream.worker.metrics import WorkerMetrics

CPU = torch.device("cpu")


class ChampionBench:
    """A registry, a watcher of it with a controlled clock, and the models that the watcher offered."""

    def __init__(self, tmp_path: Path, base: Path) -> None:
        self.base = base
        self.path = tmp_path / "registry"
        self.registry = ModelRegistry(self.path)
        self.folder = tmp_path / "made"
        self.metrics = WorkerMetrics()
        self.offered: list[Model] = []
        self.now_s = 100.0
        self.promote("v0")
        self.first = self.load("v0", None)
        self.watcher = self.watch(self.offered.append)

    def watch(self, offer: Callable[[Model], None], poll_interval_s: float = 2.0) -> ChampionWatcher:
        return ChampionWatcher(
            self.registry,
            self.first,
            self.load,
            offer,
            self.metrics,
            poll_interval_s=poll_interval_s,
            retry_pause_s=60,
            clock=lambda: self.now_s,
        )

    def load(self, version: str, tokenizer: BehaviourTokenizer | None) -> LoadedModel:
        return joint(self.registry.load(version, device=CPU, dtype="fp32", tokenizer=tokenizer))

    def publish(
        self,
        version: str,
        *,
        bias: float = 0.5,
        settings: NetworkSettings | None = None,
        change: Callable[[Path], object] = lambda _folder: None,
    ) -> Path:
        """Publish a version of the tiny network; return its folder in the registry."""
        network = checkpoint.from_base(self.base, settings or NetworkSettings())
        with torch.no_grad():
            network.heads.bias.fill_(bias)
        folder = self.folder / version
        checkpoint.save(network, folder, tokenizer_from=self.base)
        change(folder)
        self.registry.publish(folder, Manifest(version, base="tiny", created_at_ms=0))
        return self.path / "versions" / version

    def promote(self, version: str, *, bias: float = 0.5) -> int:
        """Publish a good version and make it the champion."""
        self.publish(version, bias=bias)
        return self.registry.promote(version)

    def shown(self, name: str) -> float:
        """Return the value of a metric by its name and labels; 0 while it is missing."""
        lines = self.metrics.render().decode().splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), 0)
