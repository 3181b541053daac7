"""A measured replay: `python -m benchmarks.sway_replay free TOPIC` or `… real FOLDER PASSES SECONDS`.

free: replay all events to TOPIC with a scorer without cost. Prints records, seconds from the first read to the last
commit, and resident memory in MB: the peak, at half of the records and at the end.
real: replay with the model to a Parquet folder for a number of seconds. Writes the passes to PASSES
(benchmarks/passes.py); prints the end times of the first and the last one.
"""

import resource
import sys
import threading
import time
from pathlib import Path

import psutil

from benchmarks.children import die_with_parent
from benchmarks.passes import save
from benchmarks.scoring import FreeScorer, RecordingModel
from model.loaded import LoadedModel
from model.loading import joint
from stream.assembly import load_champion, tune_garbage_collection
from stream.replay.ranges import Newest, Oldest
from stream.replay.runner import ReplayRunner, Report
from stream.replay.session import ReplaySession, Request
from stream.settings import Settings

_MB = 1024 * 1024


def main() -> None:
    """Run the replay and print the measurements."""
    die_with_parent()
    settings = Settings()
    model = joint(load_champion(settings))
    tune_garbage_collection()
    if sys.argv[1] == "free":
        _free(settings, model, sys.argv[2])
    else:
        _real(settings, model, Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))


def _free(settings: Settings, model: LoadedModel, topic: str) -> None:
    session = ReplaySession(settings, Request("free", Oldest(), Newest(), topic, None))
    partitions = settings.topics.partitions
    began = time.perf_counter()
    plan = session.begin(session.plan(model.version), partitions)
    process, half = psutil.Process(), [0]

    def look(report: Report) -> None:
        done = sum(one.events_next for one in report.partitions.values())
        if not half[0] and done >= plan.records / 2:
            half[0] = process.memory_info().rss

    done = session.run(plan, partitions, model, FreeScorer(model), on_report=look)
    seconds = time.perf_counter() - began
    records = sum(one.counts["scores"] for one in done.values())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(records, seconds, peak_mb, half[0] / _MB, process.memory_info().rss / _MB)


def _real(settings: Settings, model: LoadedModel, folder: Path, passes: Path, for_s: float) -> None:
    session = ReplaySession(settings, Request("real", Oldest(), Newest(), None, folder))
    partitions = settings.topics.partitions
    plan = session.begin(session.plan(model.version), partitions)
    recording = RecordingModel(model)

    def stop_later(runner: ReplayRunner) -> None:
        threading.Timer(for_s, runner.stop).start()

    batcher = session.batcher(recording)  # type: ignore[arg-type]  # it has all that the batcher uses
    session.run(plan, partitions, model, batcher, on_start=stop_later)
    batcher.close(drop=True)
    save(recording.passes, passes)
    ended = [one.ended_s for one in recording.passes]
    print(ended[0], ended[-1])


if __name__ == "__main__":
    main()
