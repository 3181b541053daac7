"""Play one case and return its row."""

import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from sway.embedded import EmbeddedError
from tests.faults.audit import Audit
from tests.faults.case import Case
from tests.faults.doubled import keep_doubled
from tests.faults.stage import Stage
from tests.integration.conftest import Topics

KEPT = Path("build/faults-failed")


@dataclass(frozen=True, slots=True)
class Row:
    """The result of a case.

    recovery_s: the longest time from a fault until the workers had caught up. after_answer_s: the same, from when the
    brokers can commit again, for cases that stop brokers.
    """

    case: str
    events: int
    scores: int
    dead_letters: int
    lost: int
    duplicates: int
    recovery_s: float
    passed: bool
    took_s: float
    notes: dict[str, str]
    problems: list[str]
    after_answer_s: float = 0.0

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def play(case: Case, kafka: Any, registry: Path, say: Callable[[str], None]) -> Row:
    """Play a case on these brokers. Failures are in the row; `say` gets the last log lines of the workers."""
    began = time.monotonic()
    topics = Topics(kafka.bootstrap_servers, f"fault-{uuid.uuid4().hex[:8]}")
    with (
        tempfile.TemporaryDirectory(prefix="sway-faults-", ignore_cleanup_errors=True) as folder,
        Stage(topics, registry, Path(folder), kafka) as stage,
    ):
        try:
            with _at_most(case.limit_s):
                found = case.play(stage) or stage.finish()
        except (Exception, pytest.fail.Exception) as exc:
            found = stage.unfinished()
            found.problems.append(f"{type(exc).__name__}: {exc}")
        passed = not (found.lost or found.duplicates or found.problems)
        if not passed:
            for line in stage.tail():
                say(line)
            found.problems.append(f"kept: {keep(stage, found, KEPT / topics.prefix)}")
        if pause_s := stage.answers.longest_pause_s():
            stage.notes.setdefault("longest pause", f"{pause_s:.1f} s")
        return Row(
            case=case.name,
            events=found.events,
            scores=found.scores,
            dead_letters=found.dead_letters,
            lost=found.lost,
            duplicates=found.duplicates,
            recovery_s=round(max(stage.recoveries_s, default=0.0), 1),
            passed=passed,
            took_s=round(time.monotonic() - began, 1),
            notes=stage.notes,
            problems=found.problems,
            after_answer_s=round(max(stage.after_answers_s, default=0.0), 1),
        )


def keep(stage: Stage, found: Audit, folder: Path) -> Path:
    """Copy the logs of a failed play, and write where its duplicate records are; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "problems.txt").write_text("\n".join(found.problems) + "\n", "utf-8")
    for log in stage.folder.glob("*.log"):
        shutil.copy(log, folder)
    for number, log in enumerate(stage.broker_logs()):
        shutil.copy(log, folder / f"broker-{number}.log")
    if found.duplicates:
        try:
            keep_doubled(stage.answers.places, stage.internal_partitions(), stage.log_folder, folder)
        except (OSError, EmbeddedError, subprocess.SubprocessError) as exc:
            # The row is still valid.
            found.problems.append(f"cannot locate the duplicate records: {exc}")
    return folder


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread after this time."""

    def expired(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the case took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
