"""A training for the joint reading: resuming, early stopping, knobs and versions."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model import checkpoint
from model.loaded import LoadedModel
from trainer.augment import Augmentation
from trainer.config import Lora, Pretraining, TargetStage, TrainingConfig
from trainer.dataset import Example
from trainer.errors import TrainingRefused, WorkFolderError
from trainer.job import Trained, train, version_of
from trainer.progress import Progress, Stopped

EXAMPLES = [
    Example(
        f"watch film {n % 5} liked ; watch film {n % 3} disliked",
        "watch a delight" if n % 2 else "watch a waste",
        float(n % 2),
        None if n % 7 == 0 else float(n % 2),
        1000 + n,
    )
    for n in range(60)
]
TRAIN, VALID = EXAMPLES[:48], EXAMPLES[48:]
FAST = TrainingConfig(
    targets=TargetStage(epochs=0), epochs=2, batch_rows=8, learning_rate=1e-3, tensorboard=False, threads=1
)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(folder).named_parameters())


def changed(before: Path, after: Path) -> set[str]:
    old, new = weights_of(before), weights_of(after)
    return {name for name, value in new.items() if not torch.equal(value, old[name])}


@pytest.fixture
def champion(tiny_base: Path, tmp_path: Path) -> Path:
    """A Sway checkpoint trained from the tiny base."""
    config = replace(FAST, lam=0.25)
    return train(TRAIN, (), start=tiny_base, config=config, work=tmp_path / "champion").folder


def test_a_training_ends_in_a_checkpoint_that_scores(tiny_base: Path, tmp_path: Path) -> None:
    config = replace(FAST, targets=TargetStage(epochs=2, batch_rows=2), tensorboard=True)
    trained = train(TRAIN, VALID, start=tiny_base, config=config, work=tmp_path)
    model = LoadedModel.from_folder("v", trained.folder, device=torch.device("cpu"))
    good, bad = model.tokenizer.words(["watch a delight", "watch a waste"])
    scores = model.score_texts([model.tokenizer.encode((), good), model.tokenizer.encode((), bad)])
    assert scores[0, 0] > scores[1, 0]
    assert trained.metrics["valid_auc"] == 1.0
    assert any("valid_loss" in row for row in trained.curves)
    assert list((tmp_path / "tensorboard" / "texts").glob("events.*"))


def test_an_interrupted_training_resumes_to_the_same_weights(tiny_base: Path, tmp_path: Path) -> None:
    config = replace(FAST, epochs=3, augmentation=Augmentation(behaviours_dropped=0.5))
    whole = train(TRAIN, VALID, start=tiny_base, config=config, work=tmp_path / "whole")
    steps: list[int] = []

    def interrupt(progress: Progress) -> None:
        if progress.stage == "texts: fine-tuning" and progress.done == 11:
            raise KeyboardInterrupt

    def note(progress: Progress) -> None:
        if progress.stage == "texts: fine-tuning":
            steps.append(progress.done)

    with pytest.raises(KeyboardInterrupt):
        train(TRAIN, VALID, start=tiny_base, config=config, work=tmp_path / "cut", progress=interrupt)
    resumed = train(TRAIN, VALID, start=tiny_base, config=config, work=tmp_path / "cut", progress=note)
    # Checkpoints are written every three steps.
    assert steps == list(range(10, 19))
    assert not changed(whole.folder, resumed.folder)


def test_a_stopped_training_resumes_at_the_same_step(tiny_base: Path, tmp_path: Path) -> None:
    config = replace(FAST, epochs=3, pretraining=Pretraining(epochs=1, batch_rows=8))
    whole = train(TRAIN, VALID, start=tiny_base, config=config, work=tmp_path / "whole")
    steps: list[tuple[str, int]] = []
    # Neither is a step with a regular checkpoint.
    stops = {("pretraining", 2), ("texts: fine-tuning", 11)}

    def watch(progress: Progress) -> None:
        step = (progress.stage, progress.done)
        steps.append(step)
        if step in stops:
            stops.remove(step)
            raise Stopped

    for _ in range(2):
        with pytest.raises(Stopped):
            train(TRAIN, VALID, start=tiny_base, config=config, work=tmp_path / "cut", progress=watch)
    resumed = train(TRAIN, VALID, start=tiny_base, config=config, work=tmp_path / "cut", progress=watch)
    for stage, last in (("pretraining", 6), ("texts: fine-tuning", 18)):
        assert [done for name, done in steps if name == stage] == list(range(1, last + 1))
    assert not changed(whole.folder, resumed.folder)


def test_a_finished_training_is_found_and_another_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    first = train(TRAIN, (), start=tiny_base, config=FAST, work=tmp_path)
    seen: list[Progress] = []
    again: Trained = train(TRAIN, (), start=tiny_base, config=FAST, work=tmp_path, progress=seen.append)
    assert again == first
    assert seen == [Progress("found", 1, 1)]
    with pytest.raises(WorkFolderError, match=r"another training \(config differ"):
        train(TRAIN, (), start=tiny_base, config=replace(FAST, seed=1), work=tmp_path)


def test_a_champion_is_trained_with_its_own_settings(champion: Path, tmp_path: Path) -> None:
    trained = train(TRAIN, (), start=champion, config=FAST, work=tmp_path / "next")
    assert json.loads((trained.folder / "sway.json").read_text())["lam"] == 0.25
    assert changed(champion, trained.folder)
    with pytest.raises(TrainingRefused, match="kept_layers is set"):
        train(TRAIN, (), start=champion, config=replace(FAST, kept_layers=1), work=tmp_path / "no")


def test_frozen_layers_do_not_change(champion: Path, tmp_path: Path) -> None:
    trained = train(
        TRAIN, VALID, start=champion, config=replace(FAST, trained_layers=1), work=tmp_path / "next"
    )
    moved = changed(champion, trained.folder)
    assert moved
    assert all(name.startswith(("heads.", "encoder.encoder.layer.1.")) for name in moved)


def test_adapters_are_merged_into_a_plain_checkpoint(champion: Path, tmp_path: Path) -> None:
    config = replace(FAST, lora=Lora(rank=2, alpha=8), trained_layers=1)
    trained = train(TRAIN, (), start=champion, config=config, work=tmp_path / "next")
    moved = changed(champion, trained.folder) - {"heads.weight", "heads.bias"}
    assert moved
    assert all("layer.1." in name and name.endswith("weight") for name in moved)
    update = weights_of(trained.folder)[min(moved)] - weights_of(champion)[min(moved)]
    assert torch.linalg.matrix_rank(update, rtol=1e-3) <= 2


def test_early_stopping_ends_before_the_last_epoch(tiny_base: Path, tmp_path: Path) -> None:
    inverted = [replace(example, y=1 - example.y, z=None) for example in VALID]
    config = replace(FAST, epochs=30, patience=2, heads_first=True)
    steps: list[int] = []
    train(
        TRAIN,
        inverted,
        start=tiny_base,
        config=config,
        work=tmp_path,
        progress=lambda p: steps.append(p.done),
    )
    assert max(steps) < 180
    with pytest.raises(TrainingRefused, match="needs validation examples"):
        train(TRAIN, (), start=tiny_base, config=config, work=tmp_path / "none")


@pytest.mark.parametrize(
    "config",
    [
        replace(FAST, adversarial_epsilon=1.0),
        replace(FAST, pretraining=Pretraining(epochs=1)),
        replace(FAST, dropout=0.5),
        replace(FAST, weight_decay=0.5),
        replace(FAST, warmup=0.9),
        replace(FAST, learning_rate=1e-5),
        replace(FAST, lam=0.0),
        replace(FAST, augmentation=Augmentation(cropped=1.0, crop_to=1)),
        replace(FAST, augmentation=Augmentation(reordered=1.0)),
        replace(FAST, newest_texts=20),
    ],
    ids=lambda config: next(k for k, v in config.to_plain().items() if v != FAST.to_plain()[k]),
)
def test_each_knob_changes_the_model(config: TrainingConfig, champion: Path, tmp_path: Path) -> None:
    as_it_is = train(TRAIN, (), start=champion, config=FAST, work=tmp_path / "plain")
    other = train(TRAIN, (), start=champion, config=config, work=tmp_path / "other")
    assert changed(as_it_is.folder, other.folder)


def test_a_configuration_round_trips_through_json() -> None:
    config = replace(FAST, lora=Lora(rank=4), lam=1.0)
    assert TrainingConfig.from_plain(json.loads(json.dumps(config.to_plain()))) == config
    with pytest.raises(TrainingRefused, match=r"no knob is called lora\.rang"):
        TrainingConfig.from_plain({"lora": {"rang": 1}})
    with pytest.raises(TrainingRefused, match="learning_rate=1e-06 must be 1e-05 to 1"):
        TrainingConfig(learning_rate=1e-6)
    with pytest.raises(TrainingRefused, match="augmentation: cropped=2"):
        TrainingConfig.from_plain({"augmentation": {"cropped": 2}})


def test_a_version_does_not_depend_on_tracking() -> None:
    data = {"ranges": [{"partition": 0, "start": 0, "end": 9}]}
    first = version_of(None, "tiny", data, FAST)
    assert first.startswith("v-")
    assert version_of(None, "tiny", data, replace(FAST, tensorboard=True, threads=2)) == first
    assert version_of("p", "tiny", data, FAST) != first
    assert version_of(None, "tiny", data, replace(FAST, seed=2)) != first
