"""A measured Sway worker: `python -m benchmarks.sway_worker MODE [FILE or NUMBER]`.

free: a scorer without cost, and no label join. joining: the same with the label join, so that each event waits.
real FILE: the model; writes each packed batch and the end of its pass to FILE at the end.
serving: an unmodified worker. timed FILE: the same; writes rows and seconds of each pass to FILE at the end.
full NUMBER: the same, with a late model that has NUMBER text vectors in its cache.
Settings come from the environment, as usual.
"""

import json
import logging
import sys
from pathlib import Path

from benchmarks.children import die_with_parent
from benchmarks.passes import save
from benchmarks.scoring import FreeScorer, RecordingModel, TimedModel, fill
from model.loading import Model, joint
from stream.assembly import load_champion, make_batcher
from stream.log import set_up_log
from stream.settings import Settings
from stream.worker.app import Components, build_app
from stream.worker.run import run_app


def main() -> None:
    """Run the worker until it receives a signal."""
    die_with_parent()
    set_up_log(logging.WARNING)
    settings = Settings()
    loaded = load_champion(settings)
    if sys.argv[1] in {"serving", "timed", "full"}:
        _serve(settings, loaded)
        return
    model = joint(loaded)
    if sys.argv[1] in {"free", "joining"}:
        settings.labels.outcomes = sys.argv[1] == "joining"
        settings.handover.enabled = False
        run_app(build_app(settings, Components(model, FreeScorer(model))), logging.WARNING)
        return
    recording = RecordingModel(model)
    batcher = make_batcher(settings, recording)
    run_app(build_app(settings, Components(model, batcher)), logging.WARNING)
    save(recording.passes, Path(sys.argv[2]))


def _serve(settings: Settings, model: Model) -> None:
    timed = TimedModel(model)
    if sys.argv[1] == "full":
        fill(model, int(sys.argv[2]))
    batcher = make_batcher(settings, timed if sys.argv[1] == "timed" else model)
    run_app(build_app(settings, Components(model, batcher)), logging.WARNING)
    if sys.argv[1] == "timed":
        Path(sys.argv[2]).write_text(json.dumps(timed.passes), encoding="utf-8")


if __name__ == "__main__":
    main()
