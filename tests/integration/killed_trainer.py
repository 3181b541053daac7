"""A trainer that ends at one step of a request; multiprocessing runs it and reports its exit code."""

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import model.registry
import trainer.announce
import trainer.ranges
import trainer.service
from model.manifest import Manifest
from schemas.records import OffsetRange
from sway.trainer import trainer as run_trainer
from trainer.dataset import Example
from trainer.progress import Progress
from trainer.request import PROMOTED

STOPPED = "asked to stop in the middle of training"
HANGING = "asked to stop while the registry does not answer"
HELD = "held in the middle of training"
STEPS = ("read", "in the middle of training", "published", "promoted", "announced")
"""The steps after which it is killed."""

_HANGING_STOP_S = 2.0  # replaces the service's 20 s

_step = ""  # the step at which this process ends
_until: Path | None = None


def end_at(step: str, environment: Mapping[str, str], until: Path | None = None) -> None:
    """Run `sway trainer` until it is killed (SIGKILL) after a step, or asked to stop (SIGTERM).

    HELD: it pauses in training until the file `until` exists.
    """
    global _step, _until
    _step, _until = step, until
    os.environ.update(environment)
    trainer.ranges.ExampleRanges = Ranges  # type: ignore[misc]
    model.registry.ModelRegistry = Registry  # type: ignore[misc]
    trainer.announce.Announcer = Announcer  # type: ignore[misc]
    trainer.service.TrainerService = Service  # type: ignore[misc]
    run_trainer("info")


def _reached(step: str) -> None:
    if step == _step:
        os.kill(os.getpid(), signal.SIGTERM if step in (STOPPED, HANGING) else signal.SIGKILL)


class Ranges(trainer.ranges.ExampleRanges):
    def read(self, ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        found = super().read(ranges, older)
        _reached("read")
        return found


class Registry(model.registry.ModelRegistry):
    def publish(self, folder: Path, manifest: Manifest) -> str:
        if _step == HANGING:
            _reached(HANGING)
            threading.Event().wait()
        version = super().publish(folder, manifest)
        _reached("published")
        return version

    def promote(self, version: str, **how: Any) -> int:
        number = super().promote(version, **how)
        _reached("promoted")
        return number


class Announcer(trainer.announce.Announcer):
    def __call__(self, version: str, event: str, reason: str, metrics: Mapping[str, float]) -> None:
        super().__call__(version, event, reason, metrics)
        if event == PROMOTED:
            _reached("announced")


class Service(trainer.service.TrainerService):
    def __init__(self, client_config: Mapping[str, str], *args: Any, **extra: Any) -> None:
        if _step == HANGING:
            extra["stop_s"] = _HANGING_STOP_S
        if _step != HELD:
            # A static member: its successor gets the partition at once, not after the killed one's session timeout.
            client_config = {**client_config, "group.instance.id": "killed"}
        super().__init__(client_config, *args, **extra)

    def on_progress(self, progress: Progress) -> None:
        if progress.stage == "texts: fine-tuning" and progress.done > progress.total // 2:
            _reached("in the middle of training")
            _reached(STOPPED)
            while _step == HELD and _until is not None and not _until.exists():
                self.check()
                threading.Event().wait(0.02)
        super().on_progress(progress)
