"""What a training request comes to, step by step; each step finds what an earlier try has done.

    examples -> train -> publish -> judge -> promote or reject

A version's name is a hash of request and configuration, not of the champion that it starts from: so a request that
is read again after a kill finds its own work, whatever was promoted meanwhile. The registry is the only memory
that counts; the work folder saves time. What is in it and does not fit is deleted, and the work begins anew.
"""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from model.errors import ModelCorrupt, ModelMissing, PromotionConflict
from model.loading import Model
from model.manifest import Manifest
from model.registry import ModelRegistry
from model.verdicts import CHAMPION_PROMOTION
from schemas.records import OffsetRange, TrainingRequest
from trainer.config import TrainingConfig
from trainer.dataset import TO_MS, Example, labels, newest_of, split_by_time
from trainer.errors import RangeError, TrainingRefused, WorkFolderError
from trainer.evaluation.report import compare, write_report
from trainer.evaluation.scoring import Times, can_compare, measure_in_turns, score_examples
from trainer.gate import GateSettings, Predictions, Verdict, judge
from trainer.job import Trained, train, version_of
from trainer.kept_examples import Parts, keep, load
from trainer.knob_readings import refuse_other_knobs
from trainer.known_texts import known_texts
from trainer.progress import OnProgress, Progress, ignore_progress
from trainer.starts import choose_reading

logger = logging.getLogger(__name__)

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

    work: a folder for what is under way. given_knobs: names of those of training that somebody has set.
    base: the checkpoint to start from while there is no champion.
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
    given_knobs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a request: a version promoted or rejected, why, and the gate's figures."""

    version: str
    event: str
    reason: str
    metrics: dict[str, float]


class RequestHandler:
    """Handles one request at a time.

    now_ms: epoch milliseconds, for manifests. progress: called between and within steps with what is being done; it may
    raise Stopped, and handle() resumes the next time.
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

        What cannot be done is a rejection with its reason. Raises what failed otherwise: try again.
        """
        version = self.version(request)
        decision = self._settled(version)
        if decision is None:
            try:
                decision = self._decide(request, version)
            except (TrainingRefused, RangeError) as exc:
                decision = self._reject(version, f"rejected: {exc}", {})
        return self._end(decision)

    def give_up(self, request: TrainingRequest, reason: str) -> Decision:
        """Reject a request that has failed too often, and announce it; one with a verdict keeps it."""
        version = self.version(request)
        try:
            settled = self._settled(version)
        except ModelCorrupt:  # perhaps the very reason
            settled = None
        return self._end(settled or self._reject(version, f"rejected: {reason}", {}))

    def start_anew(self, request: TrainingRequest) -> None:
        """Delete what was kept of a request that is under way: the next try begins at its beginning."""
        shutil.rmtree(self._work(self.version(request)), ignore_errors=True)

    def storage_answers(self) -> bool:
        """Say whether the registry's storage can be read at all."""
        try:
            self._registry.rejections()
        except Exception:
            logger.warning("The registry cannot be read", exc_info=True)
            return False
        return True

    def version(self, request: TrainingRequest) -> str:
        """Return the name of the version that a request makes."""
        ranges = [asdict(part) for part in request.ranges]
        data = {"request": request.request_id, "ranges": ranges, "older": self._config.older}
        return version_of(None, self._config.base_name, data, self._config.training)

    def _work(self, version: str) -> Path:
        return self._config.work / version

    def _at(self, stage: str, total: int = 1) -> None:
        """Say that a stage begins; raises what the callback raises to stop."""
        self._progress(Progress(stage, 0, total))

    def _settled(self, version: str) -> Decision | None:
        try:
            standing = self._registry.verdict(version)
        except ModelMissing:
            return None
        if not standing.is_settled:
            return None
        event = REJECTED if standing.status == "rejected" else PROMOTED
        return Decision(version, event, standing.reason, dict(standing.metrics))

    def _end(self, decision: Decision) -> Decision:
        self._at("announcing")
        self._announce(decision.version, decision.event, decision.reason, decision.metrics)
        shutil.rmtree(self._work(decision.version), ignore_errors=True)
        return decision

    def _decide(self, request: TrainingRequest, version: str) -> Decision:
        parts = self._parts(request, self._work(version))
        if not self._registry.exists(version):
            self._make(request, version, parts)
        self._at("announcing")
        self._announce(version, PUBLISHED, request.reason, dict(self._registry.manifest(version).metrics))
        return self._gate(version, parts)

    def _parts(self, request: TrainingRequest, work: Path) -> Parts:
        """Return what an earlier try has kept; else read, split and keep it."""
        parts = load(work)
        if parts is None:
            self._at("reading", request.examples)
            parts = self._read_parts(request)
            keep(work, parts)
        return parts

    def _read_parts(self, request: TrainingRequest) -> Parts:
        new, older = self._read(request.ranges, self._config.older)
        if not new:
            raise TrainingRefused(f"request {request.request_id} names ranges without examples")
        rest, gate = split_by_time(new, self._config.gate_share)
        learned, valid = split_by_time([*older, *rest], self._config.valid_share)
        return Parts(learned, valid, gate)

    # --- train ------------------------------------------------------------------------------------------

    def _make(self, request: TrainingRequest, version: str, parts: Parts) -> None:
        work = self._work(version)
        parent, start = self._start(work)
        trained = self._train(parts, start, work / "training", self._until_ms(parent))
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
                TO_MS: newest_of(parts.train, parts.valid, known=self._until_ms(parent)),
            },
            metrics=trained.metrics,
            config=self._config.training.to_plain(),
        )
        self._publish(trained.folder, manifest)

    def _publish(self, folder: Path, manifest: Manifest) -> None:
        self._at("publishing")
        try:
            self._registry.publish(folder, manifest)
        except ModelCorrupt:
            if not self._registry.exists(manifest.version):
                raise
            logger.warning(
                "Version %s was published by another trainer meanwhile: it counts", manifest.version
            )

    def _train(self, parts: Parts, start: Path, work: Path, start_until_ms: int | None) -> Trained:
        """Train, or go on with what is in the work folder; begin anew if that is another training."""
        try:
            return self._train_in(work, parts, start, start_until_ms)
        except WorkFolderError as exc:
            logger.warning("%s. It begins anew", exc)
            shutil.rmtree(work, ignore_errors=True)
            return self._train_in(work, parts, start, start_until_ms)

    def _train_in(self, work: Path, parts: Parts, start: Path, start_until_ms: int | None) -> Trained:
        reading = choose_reading(self._config.training, start, parts.train)
        refuse_other_knobs(self._config.given_knobs, reading)
        return train(
            parts.train,
            parts.valid,
            start=start,
            config=self._config.training,
            work=work,
            start_until_ms=start_until_ms,
            progress=self._progress,
        )

    def _start(self, work: Path) -> tuple[str | None, Path]:
        """Return the version to start from and its checkpoint: the champion of the first try, else the base."""
        note = work / "parent.json"
        known, parent = _noted(note)
        if not known:
            parent = self._registry.champion()
        if parent is None:
            if self._config.base is None:
                raise TrainingRefused("there is no champion to start from, and no base is set (trainer.base)")
            start = self._config.base
        else:
            start = work / "parent"
            shutil.rmtree(start, ignore_errors=True)
            self._at("fetching the champion")
            self._registry.fetch(parent, start)
        if not known:  # only now: a champion that cannot be fetched may be replaced before the next try
            _note(note, parent)
        return parent, start

    def _until_ms(self, parent: str | None) -> int | None:
        """Return the time of the newest example that a version was made from; None if it does not say."""
        return None if parent is None else self._registry.manifest(parent).data.get(TO_MS)

    def _base_of(self, parent: str | None) -> str:
        return self._config.base_name if parent is None else self._registry.manifest(parent).base

    # --- judge ------------------------------------------------------------------------------------------

    def _gate(self, version: str, parts: Parts) -> Decision:
        while True:
            champion = self._registry.champion()
            verdict = self._judge(champion, version, parts)
            self._at("promoting" if verdict.promote else "rejecting")
            if not verdict.promote:
                return self._reject(version, verdict.reason, dict(verdict.metrics))
            try:
                self._registry.promote(version, reason=verdict.reason, expected=champion)
            except PromotionConflict:
                continue  # another champion by now: it must be beaten as well
            return Decision(version, PROMOTED, verdict.reason, dict(verdict.metrics))

    def _judge(self, champion: str | None, version: str, parts: Parts) -> Verdict:
        """Compare on those of the gate's examples that tell both all that they read."""
        if champion is None:
            return Verdict(
                promote=True, reason="promoted: the first, there is no champion to beat", metrics={}
            )

        def told(done: int, total: int) -> None:
            self._progress(Progress("judging", done, total))

        models = [self._registry.load(name) for name in (champion, version)]
        gate = [one for one in parts.gate if can_compare(models, one)]
        texts = known_texts([*gate, *parts.valid, *parts.train])
        told(0, len(gate))
        took = measure_in_turns(models, gate, texts) if gate else [Times(float("nan"), float("nan"))] * 2
        before, after = (
            Predictions(*score_examples(model, gate, texts=texts, progress=told), *times)
            for model, times in zip(models, took, strict=True)
        )
        self._report(models[1], after, gate)
        return self._compare(champion, before, after, gate, models[0].lam)

    def _compare(
        self, champion: str, before: Predictions, after: Predictions, gate: Sequence[Example], lam: float
    ) -> Verdict:
        """Ask the gate; a verdict by comparison names the promotion of the champion, so that it counts against it."""
        challenged = self._registry.challenged(champion)
        y, z = labels(gate).T
        verdict = judge(
            before,
            after,
            y,
            z,
            lam,
            user_ids=np.array([example.user_id for example in gate]),
            earlier=challenged.rejected,
            settings=self._config.gate,
        )
        if "p_value" not in verdict.metrics:  # they were not compared, so this request spent no error
            return verdict
        return replace(verdict, metrics={**verdict.metrics, CHAMPION_PROMOTION: float(challenged.promotion)})

    def _report(self, model: Model, said: Predictions, gate: Sequence[Example]) -> None:
        if not gate or not np.isfinite(said.y_hat).all():
            return
        compared = compare(gate, said.y_hat, said.z_hat, model.lam)
        with tempfile.TemporaryDirectory(prefix="sway-report-") as folder:
            write_report(Path(folder), compared, title=f"{model.version} on its gate slice")
            self._registry.attach(model.version, Path(folder), _REPORT)

    def _reject(self, version: str, reason: str, metrics: dict[str, float]) -> Decision:
        self._registry.reject(version, reason, metrics)
        return Decision(version, REJECTED, reason, metrics)


def _noted(note: Path) -> tuple[bool, str | None]:
    """Say whether an earlier try has noted what it started from, and what that was."""
    try:
        parent = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False, None
    return True, parent


def _note(note: Path, parent: str | None) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False, encoding="utf-8") as file:
        json.dump(parent, file)
    Path(file.name).rename(note)
