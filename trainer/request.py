"""Handling of a training request, in idempotent steps that reuse the results of earlier tries.

    examples -> train -> publish -> judge -> promote or reject

A version id is a hash of request and configuration, but not of the champion that the training starts from. A request
that is read again after a crash therefore finds its own work, even if another version was promoted meanwhile. The
registry is authoritative, and the work folder is a cache: contents that do not match are deleted and recomputed.
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
from trainer.dataset import TO_MS, Example, labels, latest_known_at, split_by_time
from trainer.errors import RangeError, TrainingRefused, WorkFolderError
from trainer.evaluation.report import compare, write_report
from trainer.evaluation.scoring import Times, can_compare, measure_in_turns, score_examples
from trainer.gate import GateSettings, Predictions, Verdict, judge
from trainer.job import Trained, train, version_of
from trainer.kept_examples import Split, load, save
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
    """Reads the examples of a request."""

    def __call__(self, ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        """Return the examples of the ranges, and the newest before them, at most `older`. Raises TrainerError."""
        ...


class Announce(Protocol):
    """Announces what happened to a version."""

    def __call__(self, version: str, event: str, reason: str, metrics: dict[str, float]) -> None:
        """Announce a version. event: published, promoted or rejected."""
        ...


@dataclass(frozen=True, slots=True)
class RequestConfig:
    """How requests are handled.

    work: the folder for requests in progress. given_knobs: the names of training knobs that were set explicitly.
    base: the checkpoint to start from while there is no champion.
    older: the number of examples from before the ranges to train on as well. gate_share: the newest share of the
    request's own examples, used by the gate only and never trained on. valid_share: the newest share of the remaining
    examples, used for validation.
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
    """The result of a request: the version, whether it was promoted or rejected, the reason and metrics."""

    version: str
    event: str
    reason: str
    metrics: dict[str, float]


class RequestHandler:
    """Handles one request at a time.

    now_ms: the wall clock, milliseconds since 1970, for manifests. progress: called between and within steps. It may
    raise Stopped; the next handle() call then resumes.
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
        """Complete a request and announce the decision.

        A request that was decided before is only announced again. A request that cannot be trained is rejected with the
        reason. Any other failure is raised, and may be retried.
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
        """Reject a request that has failed too often, and announce it. An earlier verdict stands."""
        version = self.version(request)
        try:
            settled = self._settled(version)
        except ModelCorrupt:  # possibly the cause of the failures
            settled = None
        return self._end(settled or self._reject(version, f"rejected: {reason}", {}))

    def discard_work(self, request: TrainingRequest) -> None:
        """Delete the work folder of a request, so that the next try starts from the beginning."""
        shutil.rmtree(self._work(self.version(request)), ignore_errors=True)

    def storage_answers(self) -> bool:
        """Return whether the registry's storage is readable."""
        try:
            self._registry.rejections()
        except Exception:
            logger.warning("The registry cannot be read", exc_info=True)
            return False
        return True

    def version(self, request: TrainingRequest) -> str:
        """Return the version id of a request."""
        ranges = [asdict(part) for part in request.ranges]
        data = {"request": request.request_id, "ranges": ranges, "older": self._config.older}
        return version_of(None, self._config.base_name, data, self._config.training)

    def _work(self, version: str) -> Path:
        return self._config.work / version

    def _begin(self, stage: str, total: int = 1) -> None:
        """Report that a stage starts. Raises Stopped if the callback does."""
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
        self._begin("announcing")
        self._announce(decision.version, decision.event, decision.reason, decision.metrics)
        shutil.rmtree(self._work(decision.version), ignore_errors=True)
        return decision

    def _decide(self, request: TrainingRequest, version: str) -> Decision:
        split = self._split(request, self._work(version))
        if not self._registry.exists(version):
            self._make(request, version, split)
        self._begin("announcing")
        self._announce(version, PUBLISHED, request.reason, dict(self._registry.manifest(version).metrics))
        return self._gate(version, split)

    def _split(self, request: TrainingRequest, work: Path) -> Split:
        """Return the examples that an earlier try has saved; else read, split and save them."""
        split = load(work)
        if split is None:
            self._begin("reading", request.examples)
            split = self._read_split(request)
            save(work, split)
        return split

    def _read_split(self, request: TrainingRequest) -> Split:
        new, older = self._read(request.ranges, self._config.older)
        if not new:
            raise TrainingRefused(f"the ranges of request {request.request_id} contain no examples")
        rest, gate = split_by_time(new, self._config.gate_share)
        train, valid = split_by_time([*older, *rest], self._config.valid_share)
        return Split(train, valid, gate)

    # --- train ------------------------------------------------------------------------------------------

    def _make(self, request: TrainingRequest, version: str, split: Split) -> None:
        work = self._work(version)
        parent, start = self._start(work)
        trained = self._train(split, start, work / "training", self._until_ms(parent))
        manifest = Manifest(
            version=version,
            base=self._base_of(parent),
            created_at_ms=self._now_ms(),
            parent=parent,
            data={
                "request": request.request_id,
                "ranges": [asdict(part) for part in request.ranges],
                "train": len(split.train),
                "valid": len(split.valid),
                "gate": len(split.gate),
                TO_MS: latest_known_at(split.train, split.valid, known=self._until_ms(parent)),
            },
            metrics=trained.metrics,
            config=self._config.training.to_plain(),
        )
        self._publish(trained.folder, manifest)

    def _publish(self, folder: Path, manifest: Manifest) -> None:
        self._begin("publishing")
        try:
            self._registry.publish(folder, manifest)
        except ModelCorrupt:
            if not self._registry.exists(manifest.version):
                raise
            logger.warning(
                "Version %s was published by another trainer meanwhile and is used", manifest.version
            )

    def _train(self, split: Split, start: Path, work: Path, start_until_ms: int | None) -> Trained:
        """Train or resume in the work folder. If that belongs to another training, delete it and start over."""
        try:
            return self._train_in(work, split, start, start_until_ms)
        except WorkFolderError as exc:
            logger.warning("%s. The training starts from the beginning", exc)
            shutil.rmtree(work, ignore_errors=True)
            return self._train_in(work, split, start, start_until_ms)

    def _train_in(self, work: Path, split: Split, start: Path, start_until_ms: int | None) -> Trained:
        reading = choose_reading(self._config.training, start, split.train)
        refuse_other_knobs(self._config.given_knobs, reading)
        return train(
            split.train,
            split.valid,
            start=start,
            config=self._config.training,
            work=work,
            start_until_ms=start_until_ms,
            progress=self._progress,
        )

    def _start(self, work: Path) -> tuple[str | None, Path]:
        """Return the version to start from and its checkpoint.

        It is the champion at the time of the first try; without one, None and the base checkpoint.
        """
        path = work / "parent.json"
        known, parent = _read_parent(path)
        if not known:
            parent = self._registry.champion()
        if parent is None:
            if self._config.base is None:
                raise TrainingRefused("there is no champion to start from, and no base is set (trainer.base)")
            start = self._config.base
        else:
            start = work / "parent"
            shutil.rmtree(start, ignore_errors=True)
            self._begin("fetching the champion")
            self._registry.fetch(parent, start)
        # Written after the fetch, so that a champion that cannot be fetched may be replaced before the next try.
        if not known:
            _write_parent(path, parent)
        return parent, start

    def _until_ms(self, parent: str | None) -> int | None:
        """Return the time by which all labels of a version were known; None if its manifest does not say."""
        return None if parent is None else self._registry.manifest(parent).data.get(TO_MS)

    def _base_of(self, parent: str | None) -> str:
        return self._config.base_name if parent is None else self._registry.manifest(parent).base

    # --- judge ------------------------------------------------------------------------------------------

    def _gate(self, version: str, split: Split) -> Decision:
        while True:
            champion = self._registry.champion()
            verdict = self._judge(champion, version, split)
            self._begin("promoting" if verdict.promote else "rejecting")
            if not verdict.promote:
                return self._reject(version, verdict.reason, dict(verdict.metrics))
            try:
                self._registry.promote(version, reason=verdict.reason, expected=champion)
            except PromotionConflict:
                continue  # the champion has changed: compare with the new one
            return Decision(version, PROMOTED, verdict.reason, dict(verdict.metrics))

    def _judge(self, champion: str | None, version: str, split: Split) -> Verdict:
        """Compare with the champion on the gate examples that both versions can read in full."""
        if champion is None:
            return Verdict(
                promote=True, reason="promoted: the first, there is no champion to beat", metrics={}
            )

        def report(done: int, total: int) -> None:
            self._progress(Progress("judging", done, total))

        models = [self._registry.load(name) for name in (champion, version)]
        gate = [one for one in split.gate if can_compare(models, one)]
        texts = known_texts([*gate, *split.valid, *split.train])
        report(0, len(gate))
        times = measure_in_turns(models, gate, texts) if gate else [Times(float("nan"), float("nan"))] * 2
        before, after = (
            Predictions(*score_examples(model, gate, texts=texts, progress=report), *took)
            for model, took in zip(models, times, strict=True)
        )
        self._report(models[1], after, gate)
        return self._compare(champion, before, after, gate, models[0].lam)

    def _compare(
        self, champion: str, before: Predictions, after: Predictions, gate: Sequence[Example], lam: float
    ) -> Verdict:
        """Return the gate's verdict. After a comparison, its metrics name the champion's promotion.

        The registry counts rejections by that number, so that the gate can bound the error over all challengers.
        """
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
        if "p_value" not in verdict.metrics:  # no comparison, so no alpha was spent
            return verdict
        return replace(verdict, metrics={**verdict.metrics, CHAMPION_PROMOTION: float(challenged.promotion)})

    def _report(self, model: Model, predictions: Predictions, gate: Sequence[Example]) -> None:
        if not gate or not np.isfinite(predictions.y_hat).all():
            return
        compared = compare(gate, predictions.y_hat, predictions.z_hat, model.lam)
        with tempfile.TemporaryDirectory(prefix="sway-report-") as folder:
            write_report(Path(folder), compared, title=f"{model.version} on its gate slice")
            self._registry.attach(model.version, Path(folder), _REPORT)

    def _reject(self, version: str, reason: str, metrics: dict[str, float]) -> Decision:
        self._registry.reject(version, reason, metrics)
        return Decision(version, REJECTED, reason, metrics)


def _read_parent(path: Path) -> tuple[bool, str | None]:
    """Return whether an earlier try has recorded its parent, and that parent."""
    try:
        parent = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False, None
    return True, parent


def _write_parent(path: Path, parent: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump(parent, file)
    Path(file.name).rename(path)
