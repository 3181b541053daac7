"""A Sway worker under measurement: `python -m benchmarks.sway_worker free`, `… joining` or `… real FILE`.

free: a scorer that costs nothing, and no label join. joining: with the label join, so that each event waits.
real: the model; each packed batch and when its pass ended goes to FILE at the end. Settings come from the environment,
as ever.
"""

import logging
import sys
from pathlib import Path

from benchmarks.children import die_with_parent
from benchmarks.passes import save
from benchmarks.scoring import FreeScorer, RecordingModel
from model.loading import joint
from stream.assembly import load_champion, make_batcher
from stream.metrics import WorkerMetrics
from stream.run import run_app, set_up_log
from stream.settings import Settings
from stream.worker import Parts, build_app


def main() -> None:
    """Run the worker until a signal comes."""
    die_with_parent()
    set_up_log(logging.WARNING)
    settings = Settings()
    model = joint(load_champion(settings))
    if sys.argv[1] in {"free", "joining"}:
        settings.labels.outcomes = sys.argv[1] == "joining"
        settings.handover.enabled = False
        run_app(build_app(settings, Parts(model, FreeScorer(model))), logging.WARNING)
        return
    recording = RecordingModel(model)
    batcher = make_batcher(settings, recording, WorkerMetrics())
    run_app(build_app(settings, Parts(model, batcher)), logging.WARNING)
    save(recording.passes, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
