"""What a training request comes to, step by step; each step finds what an earlier try has done.

    examples -> train -> publish -> judge -> promote or reject

A version's name is a hash of request and configuration, not of the champion that it starts from: so a request that
is read again after a kill finds its own work, whatever was promoted meanwhile. The registry is the only memory
that counts; the work folder saves time.

Source: DESIGN section 8.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from model.errors import ModelMissing, PromotionConflict
from model.loaded import LoadedModel
from model.manifest import Manifest
from model.registry import ModelRegistry
from schemas.records import OffsetRange, TrainingRequest
from trainer.config import TrainingConfig
from trainer.dataset import Example, labels, split_by_time
from trainer.errors import TrainerError, TrainingRefused
from trainer.evaluation.report import compare, write_report
from trainer.evaluation.scoring import measure_in_turns, score_examples
from trainer.gate import GateSettings, Predictions, Verdict, judge
from trainer.job import train, version_of
from trainer.progress import OnProgress, ignore_progress

PUBLISHED = "published"
PROMOTED = "promoted"
REJECTED = "rejected"

_REPORT = "gate"


class ReadExamples(Protocol):
    """Reads what a request names."""

    def __call__(self, ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        """Return the examples of the ranges, and the newest so many before them. Raises TrainerError."""
        ...


class Announce(Protocol):
    """Tells the world what happened to a version."""

    def __call__(self, version: str, event: str, reason: str, metrics: dict[str, float]) -> None:
        """Event: published, promoted or rejected."""
        ...


@dataclass(frozen=True, slots=True)
class RequestConfig:
    """How requests are handled.

    work: a folder for what is under way. base: the checkpoint to start from while there is no champion.
    older: how many examples from before the ranges are learned from as well. gate_share: the newest part of the
    request's own examples, which judges and is never learned from; valid_share: of the rest, the newest.
    """

    work: Path
    training: TrainingConfig = field(default_factory=TrainingConfig)
    gate: GateSettings = field(default_factory=GateSettings)
    base: Path | None = None
    base_name: str = "base"
    older: int = 20_000
    valid_share: float = 0.1
    gate_share: float = 0.25


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a request: a version promoted or rejected, why, and the gate's figures."""

    version: str
    event: str
    reason: str
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Parts:
    """Examples by what they are for."""

    train: list[Example]
    valid: list[Example]
    gate: list[Example]


class RequestHandler:
    """Handles one request at a time.

    now_ms: epoch milliseconds, for manifests. progress: may raise to stop a training, which resumes the next time.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        read: ReadExamples,
        announce: Announce,
        config: RequestConfig,
        *,
        progress: OnProgress = ignore_progress,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._registry = registry
        self._read = read
        self._announce = announce
        self._config = config
        self._progress = progress
        self._now_ms = now_ms

    def handle(self, request: TrainingRequest) -> Decision:
        """Bring a request to its end, and announce it; done before, it is only announced again.

        What cannot be done is a rejection with its reason. Raises what storage and Kafka raise: try again later.
        """
        version = self.version(request)
        decision = self._settled(version)
        if decision is None:
            try:
                decision = self._decide(request, version)
            except (TrainerError, ValueError) as exc:
                decision = self._reject(version, f"rejected: {exc}", {})
        self._announce(decision.version, decision.event, decision.reason, decision.metrics)
        shutil.rmtree(self._config.work / version, ignore_errors=True)
        return decision

    def version(self, request: TrainingRequest) -> str:
        """Return the name of the version that a request makes."""
        ranges = [asdict(part) for part in request.ranges]
        data = {"request": request.request_id, "ranges": ranges, "older": self._config.older}
        return version_of(None, self._config.base_name, data, self._config.training)

    def _settled(self, version: str) -> Decision | None:
        try:
            standing = self._registry.verdict(version)
        except ModelMissing:
            return None
        if not standing.is_settled:
            return None
        event = REJECTED if standing.status == "rejected" else PROMOTED
        return Decision(version, event, standing.reason, dict(standing.metrics))

    def _decide(self, request: TrainingRequest, version: str) -> Decision:
        parts = self._parts(request)
        if not self._registry.exists(version):
            self._make(request, version, parts)
        self._announce(version, PUBLISHED, request.reason, dict(self._registry.manifest(version).metrics))
        return self._gate(version, parts)

    def _parts(self, request: TrainingRequest) -> _Parts:
        new, older = self._read(request.ranges, self._config.older)
        if not new:
            raise TrainingRefused(f"request {request.request_id} names ranges without examples")
        rest, gate = split_by_time(new, self._config.gate_share)
        learned, valid = split_by_time([*older, *rest], self._config.valid_share)
        return _Parts(learned, valid, gate)

    # --- train ------------------------------------------------------------------------------------------

    def _make(self, request: TrainingRequest, version: str, parts: _Parts) -> None:
        work = self._config.work / version
        parent, start = self._start(work)
        trained = train(
            parts.train,
            parts.valid,
            start=start,
            config=self._config.training,
            work=work / "training",
            progress=self._progress,
        )
        manifest = Manifest(
            version=version,
            base=self._base_of(parent),
            created_at_ms=self._now_ms(),
            parent=parent,
            data={
                "request": request.request_id,
                "ranges": [asdict(part) for part in request.ranges],
                "train": len(parts.train),
                "valid": len(parts.valid),
                "gate": len(parts.gate),
            },
            metrics=trained.metrics,
            config=self._config.training.to_plain(),
        )
        self._registry.publish(trained.folder, manifest)

    def _start(self, work: Path) -> tuple[str | None, Path]:
        """Return the version to start from and its checkpoint: the champion of the first try, else the base."""
        note = work / "parent.json"
        parent: str | None
        if note.is_file():  # the training under way started from it
            parent = json.loads(note.read_text(encoding="utf-8"))
        else:
            parent = self._registry.champion()
            work.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=work, delete=False, encoding="utf-8") as file:
                json.dump(parent, file)
            Path(file.name).rename(note)
        if parent is None:
            if self._config.base is None:
                raise TrainingRefused("there is no champion to start from, and no base is set (trainer.base)")
            return None, self._config.base
        folder = work / "parent"
        shutil.rmtree(folder, ignore_errors=True)
        return parent, self._registry.fetch(parent, folder)

    def _base_of(self, parent: str | None) -> str:
        return self._config.base_name if parent is None else self._registry.manifest(parent).base

    # --- judge ------------------------------------------------------------------------------------------

    def _gate(self, version: str, parts: _Parts) -> Decision:
        while True:
            champion = self._registry.champion()
            verdict = self._judge(champion, version, parts.gate)
            if not verdict.promote:
                return self._reject(version, verdict.reason, dict(verdict.metrics))
            try:
                self._registry.promote(version, reason=verdict.reason, expected=champion)
            except PromotionConflict:
                continue  # another champion by now: it must be beaten as well
            return Decision(version, PROMOTED, verdict.reason, dict(verdict.metrics))

    def _judge(self, champion: str | None, version: str, gate: Sequence[Example]) -> Verdict:
        if champion is None:
            return Verdict(
                promote=True, reason="promoted: the first, there is no champion to beat", metrics={}
            )
        versions = (champion, version)
        models = [self._registry.load(name) for name in versions]
        took = measure_in_turns(models, gate) if gate else [float("nan")] * 2
        before, after = (
            Predictions(*score_examples(model, gate), ms) for model, ms in zip(models, took, strict=True)
        )
        self._report(models[1], after, gate)
        y, z = labels(gate).T
        users = np.array([example.user_id for example in gate])
        return judge(before, after, y, z, models[0].lam, user_ids=users, settings=self._config.gate)

    def _report(self, model: LoadedModel, said: Predictions, gate: Sequence[Example]) -> None:
        if not gate or not np.isfinite(said.y_hat).all():
            return
        compared = compare(gate, said.y_hat, said.z_hat, model.lam)
        with tempfile.TemporaryDirectory(prefix="sway-report-") as folder:
            write_report(Path(folder), compared, title=f"{model.version} on its gate slice")
            self._registry.attach(model.version, Path(folder), _REPORT)

    def _reject(self, version: str, reason: str, metrics: dict[str, float]) -> Decision:
        self._registry.reject(version, reason, metrics)
        return Decision(version, REJECTED, reason, metrics)
