"""Plays one case from nothing to its row."""

import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.case import Case
from tests.faults.stage import Stage
from tests.integration.conftest import Topics


@dataclass(frozen=True, slots=True)
class Row:
    """What a case came to. recovery_s: from the fault to having caught up, the longest of them."""

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

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def play(case: Case, kafka: Any, registry: Path, say: Callable[[str], None]) -> Row:
    """Play a case on these brokers; what goes wrong stands in the row, and in `say` the workers' last words."""
    began = time.monotonic()
    topics = Topics(kafka.bootstrap_servers, f"fault-{uuid.uuid4().hex[:8]}")
    with (
        tempfile.TemporaryDirectory(prefix="sway-faults-") as folder,
        Stage(topics, registry, Path(folder), kafka) as stage,
    ):
        try:
            case.play(stage)
            found = stage.finish()
        except BaseException as exc:
            if isinstance(exc, KeyboardInterrupt | SystemExit):
                raise
            for line in stage.tail():
                say(line)
            problem = f"{type(exc).__name__}: {exc}"
            answered = stage.answers
            return Row(
                case.name,
                stage.due(),
                len(answered.scores),
                len(answered.letters),
                0,
                0,
                0.0,
                False,
                time.monotonic() - began,
                stage.notes,
                [problem],
            )
        passed = not (found.lost or found.duplicates or found.problems)
        if not passed:
            for line in stage.tail():
                say(line)
        return Row(
            case.name,
            found.events,
            found.scores,
            found.dead_letters,
            found.lost,
            found.duplicates,
            max(stage.recoveries_s, default=0.0),
            passed,
            time.monotonic() - began,
            stage.notes,
            found.problems,
        )
