"""`make soak`: run two workers under a steady load for 20 minutes, or SOAK_S seconds, and check that they do not grow.

After a warm-up, the memory, open files and threads of each worker are sampled every few seconds. At the end every topic
and the state are audited. The results go to build/soak.json. Exits with 1 if a worker grew or the audit fails. Growth
of memory is the slope of a line through the second half; growth of files and threads is the difference of the medians
of the first and last fifth.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from tests.faults.process import ForkedWorker
    from tests.faults.stage import Stage

OUTPUT = Path("build/soak.json")
_WARM_S = 120.0  # at most a third of the run
_SAMPLES = 100
_RATE_PER_S = 60.0
_USERS = 500
_VALUES_MB = 16  # with the default, the memory for decoded values would keep growing during the whole soak
_GROWTH_MB = 40.0
"""The allowed growth in the second half; RocksDB's buffers and cache fill in about the first ten minutes."""
_MORE_FILES = 20  # RocksDB opens a file for each of its tables
_MORE_THREADS = 2
_COLUMNS = "{:>7} {:>7} {:>9} {:>6} {:>8}"
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of a worker. at_s: seconds since the load began."""

    worker: str
    at_s: float
    memory_mb: float
    files: int
    threads: int


def main() -> int:
    """Run the load and return the exit status."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from sway.embedded import EmbeddedKafka
    from tests.faults.stage import Stage
    from tests.integration.conftest import Topics
    from tests.support.tiny import make_base, make_registry

    seconds = float(os.environ.get("SOAK_S") or 1200)
    with tempfile.TemporaryDirectory(prefix="sway-soak-") as name, EmbeddedKafka() as kafka:
        folder = Path(name)
        registry = make_registry(folder / "registry", make_base(folder / "base"), folder / "champion")
        with Stage(Topics(kafka.bootstrap_servers, "soak"), registry, folder, kafka) as stage:
            samples = _soak(stage, seconds)
            found = stage.finish(timeout_s=180)
            problems = [problem for worker in ("a", "b") for problem in _grown(worker, samples)]
            if found.lost or found.duplicates:
                problems.append(f"{found.lost} lost, {found.duplicates} double")
            problems += found.problems
    OUTPUT.parent.mkdir(exist_ok=True)
    plain = {
        "seconds": seconds,
        "events": found.events,
        "scores": found.scores,
        "dead_letters": found.dead_letters,
        "lost": found.lost,
        "duplicates": found.duplicates,
        "problems": problems,
        "samples": [asdict(sample) for sample in samples],
    }
    OUTPUT.write_text(json.dumps(plain, indent=2), encoding="utf-8")
    print(f"{found.events} events, {found.scores} scores, {found.dead_letters} dead letters; {OUTPUT}")
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


def _soak(stage: "Stage", seconds: float) -> list[Sample]:
    """Run the load and return the samples of both workers after the warm-up."""
    from tests.faults.load import inputs

    workers = stage.create_topics().start("a", "b", SWAY_MEMORY__VALUES_MB=_VALUES_MB)
    stage.feed(_RATE_PER_S, inputs(users=_USERS))
    began = time.monotonic()
    warm_s = min(_WARM_S, seconds / 3)
    every_s = max(1.0, (seconds - warm_s) / _SAMPLES)
    samples: list[Sample] = []
    print(_COLUMNS.format("worker", "at", "memory", "files", "threads"), flush=True)
    due_s = warm_s
    while due_s <= seconds:
        while time.monotonic() - began < due_s:
            stage.answers.read()
            time.sleep(0.2)
        newest = [_sample(worker, time.monotonic() - began) for worker in workers]
        if len(samples) % 20 == 0:
            for sample in newest:
                _show(sample)
        samples += newest
        due_s += every_s
    return samples


def _sample(worker: "ForkedWorker", at_s: float) -> Sample:
    assert worker.runs, f"worker {worker.log.stem} has ended: {worker.log_text()[-2000:]}"
    process = psutil.Process(worker.process.pid)
    return Sample(
        worker.log.stem,
        round(at_s, 1),
        round(process.memory_info().rss / _MIB, 1),
        process.num_fds(),
        process.num_threads(),
    )


def _show(sample: Sample) -> None:
    at, memory = f"{sample.at_s:.0f} s", f"{sample.memory_mb:.0f} MB"
    print(_COLUMNS.format(sample.worker, at, memory, sample.files, sample.threads), flush=True)


def _grown(worker: str, samples: Sequence[Sample]) -> list[str]:
    """Return descriptions of the resources of a worker that grew by more than is allowed."""
    of_it = [sample for sample in samples if sample.worker == worker]
    half = of_it[len(of_it) // 2 :]
    times = [sample.at_s for sample in half]
    slope, _ = statistics.linear_regression(times, [sample.memory_mb for sample in half])
    grown_mb = slope * (times[-1] - times[0])
    part = max(1, len(of_it) // 5)
    first, last = of_it[:part], of_it[-part:]
    files = statistics.median(one.files for one in last) - statistics.median(one.files for one in first)
    threads = statistics.median(one.threads for one in last) - statistics.median(one.threads for one in first)
    print(
        f"worker {worker}: {grown_mb:+.1f} MB by the line ({slope * 3600:+.0f} MB an hour), "
        f"{files:+g} files, {threads:+g} threads in {times[-1] - times[0]:.0f} s",
        flush=True,
    )
    problems = []
    if grown_mb > _GROWTH_MB:
        problems.append(f"worker {worker} grew by {grown_mb:.1f} MB; at most {_GROWTH_MB:g} are allowed")
    if files > _MORE_FILES:
        problems.append(f"worker {worker} has {files:g} more files open; at most {_MORE_FILES} are allowed")
    if threads > _MORE_THREADS:
        problems.append(f"worker {worker} has {threads:g} more threads; at most {_MORE_THREADS} are allowed")
    return problems


if __name__ == "__main__":
    sys.exit(main())
