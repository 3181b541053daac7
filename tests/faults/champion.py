"""Unusable champions that are promoted while the old one serves."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load, save_file

from model.checkpoint import HEADS_FILE
from model.manifest import MANIFEST_FILE, Manifest
from model.promotions import Promotion
from model.registry import ModelRegistry
from model.tokens import TOKENIZER_FILE
from tests.faults.case import case
from tests.faults.process import ForkedWorker
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for

_ENCODER = "model.safetensors"
_CONFIG = "config.json"
_RATE_PER_S = 80.0
Change = Callable[[Path], object]


def _truncate(folder: Path) -> None:
    content = (folder / _ENCODER).read_bytes()
    (folder / _ENCODER).write_bytes(content[: len(content) // 2])


def _flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / _ENCODER).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / _ENCODER).write_bytes(content)


def _pickle(folder: Path) -> None:
    weights = load((folder / _ENCODER).read_bytes())  # from bytes, not a mapping: the file is overwritten
    torch.save(weights, folder / _ENCODER)


def _say_another_width(folder: Path) -> None:
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    (folder / _CONFIG).write_text(json.dumps(config | {"hidden_size": 64}), encoding="utf-8")


def _heads(weight: torch.Tensor) -> Change:
    return lambda folder: save_file(
        {"heads.weight": weight, "heads.bias": torch.zeros(2)}, folder / HEADS_FILE
    )


_SPOILED: dict[str, tuple[Change, str]] = {
    "truncated": (_truncate, "corrupt"),
    "one-bit": (_flip_a_bit, "corrupt"),
    "no-heads": (lambda folder: (folder / HEADS_FILE).unlink(), "corrupt"),
    "half-a-manifest": (lambda folder: (folder / MANIFEST_FILE).write_text("{"), "corrupt"),
    "gone": (shutil.rmtree, "missing"),
}
"""Changes to a published version, and the reason for its refusal."""
_WRONG: dict[str, tuple[Change, str]] = {
    "pickle": (_pickle, "incompatible"),
    "another-width": (_say_another_width, "incompatible"),
    "wide-heads": (_heads(torch.zeros(2, 48)), "incompatible"),
    "endless-heads": (_heads(torch.full((2, 32), torch.inf)), "not_finite"),
    "tokenizer": (lambda folder: (folder / TOKENIZER_FILE).write_text("{}"), "tokenizer"),
}
"""Changes before a version is published, so that its hashes match, and the reason for its refusal."""


@case("champion replaced by a corrupt, truncated or wrong file: refused, old model serves, alarm")
def bad_champions(stage: Stage) -> None:
    stage.registry = Path(shutil.copytree(stage.registry, stage.folder / "registry"))
    stage.environment["SWAY_MODEL__REGISTRY"] = str(stage.registry)
    stage.environment["SWAY_MODEL__POLL_INTERVAL_S"] = "0.1"
    registry = ModelRegistry(stage.registry)
    good = registry.fetch("tiny", stage.folder / "good")
    (worker,) = stage.create_topics().start("a")
    stage.feed(_RATE_PER_S)
    stage.wait_for_more(100)
    for name, (change, reason) in _SPOILED.items():
        _publish(registry, name, good)
        change(stage.registry / "versions" / name)
        _promote(stage, name)
        _check_refused(stage, worker, name, reason)
    for name, (change, reason) in _WRONG.items():
        folder = Path(shutil.copytree(good, stage.folder / name))
        change(folder)
        _publish(registry, name, folder)
        _promote(stage, name)
        _check_refused(stage, worker, name, reason)
    _write_promotion(stage, "{not a promotion")
    _check_refused(stage, worker, "(no promotion)", "corrupt")
    stage.notes["promotions refused"] = f"{len(_SPOILED) + len(_WRONG) + 1}"

    _publish(registry, "good", good)
    _promote(stage, "good")
    wait_for(lambda: _versions(stage) == {"tiny", "good"}, "scores of the good version")
    assert worker.metric("sway_champion_alarm") == 0
    assert worker.metric("sway_model_swaps_total") == 1


def _check_refused(stage: Stage, worker: ForkedWorker, name: str, reason: str) -> None:
    """Wait until the newest promotion is refused for this reason; check the alarm, and that the old model serves."""
    number = len(list((stage.registry / "promotions").iterdir()))
    line = f"Promotion {number} cannot be followed ({reason}); model tiny stays in use"
    wait_for(lambda: line in worker.log_text(), f"refusal of {name}: {line!r}")
    assert worker.metric("sway_champion_alarm") == 1
    assert worker.metric(f'sway_champion_refused_total{{reason="{reason}"}}') >= 1
    stage.wait_for_more(30)
    assert _versions(stage) == {"tiny"}


def _versions(stage: Stage) -> set[str]:
    stage.answers.read()
    return {score.model_version for score in stage.answers.scores}


def _publish(registry: ModelRegistry, name: str, folder: Path) -> None:
    registry.publish(folder, Manifest(name, base="tiny", created_at_ms=0))


def _promote(stage: Stage, name: str) -> None:
    """Promote a version without the registry's checks."""
    _write_promotion(stage, Promotion(name, 0).to_json())


def _write_promotion(stage: Stage, content: str) -> None:
    folder = stage.registry / "promotions"
    number = len(list(folder.iterdir())) + 1
    unseen = stage.folder / "promotion"
    unseen.write_text(content, encoding="utf-8")
    unseen.rename(folder / f"{number:06d}.json")
