"""Tracking of training curves with TensorBoard and Weights & Biases.

Both are optional packages. Weights & Biases is off by default and reads its own environment variables. With
WANDB_MODE=offline no data leaves the machine.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from trainer.config import TrainingConfig
from trainer.errors import TrackingError


class Tracker(Protocol):
    """Records metrics."""

    def log(self, stage: str, figures: Mapping[str, float], step: int) -> None:
        """Record the metrics of a stage at a step."""
        ...


class NoTracker:
    """A Tracker that discards all metrics."""

    def log(self, stage: str, figures: Mapping[str, float], step: int) -> None:
        """See Tracker."""


class _Tracker:
    """Writes to the enabled trackers."""

    def __init__(self, folder: Path, config: TrainingConfig, wandb_run: Any) -> None:
        self._folder = folder
        self._writes_tensorboard = config.tensorboard
        self._writers: dict[str, Any] = {}
        self._run = wandb_run

    def log(self, stage: str, figures: Mapping[str, float], step: int) -> None:
        """See Tracker."""
        if self._writes_tensorboard:
            writer = self._writer(stage)
            for name, value in figures.items():
                writer.add_scalar(name, value, step)
            writer.flush()
        if self._run is not None:
            self._run.log({f"{stage}/step": step, **{f"{stage}/{name}": v for name, v in figures.items()}})

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, stage: str) -> Any:
        if stage not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            self._writers[stage] = SummaryWriter(str(self._folder / stage))
        return self._writers[stage]


@contextlib.contextmanager
def tracking(config: TrainingConfig, work: Path) -> Iterator[Tracker]:
    """Yield a tracker that writes under the work folder, and close it at the end of the block.

    TensorBoard writes to work/tensorboard/STAGE, Weights & Biases to its own files under work.
    Raises TrackingError if an enabled tracker is not installed or does not start.
    """
    if config.tensorboard:
        try:
            import tensorboard  # type: ignore[import-untyped]  # noqa: F401 -- for a clearer error than torch's
        except ImportError as exc:
            raise TrackingError(
                "tensorboard=true needs the package tensorboard: pip install 'sway[train]', or set it to false"
            ) from exc
    run = _start_wandb(config, work) if config.wandb else None
    tracker = _Tracker(work / "tensorboard", config, run)
    try:
        yield tracker
    finally:
        tracker.close()
        if run is not None:
            run.finish()


def _start_wandb(config: TrainingConfig, work: Path) -> Any:
    try:
        import wandb
    except ImportError as exc:
        raise TrackingError(
            "wandb=true needs the package wandb: pip install 'sway[train]', or set it to false"
        ) from exc
    try:
        return wandb.init(project=config.wandb_project, dir=str(work), config=config.to_plain())
    except wandb.Error as exc:
        raise TrackingError(
            f"Weights & Biases does not start: {exc}; log in, set WANDB_MODE=offline, or set wandb to false"
        ) from exc
