"""A training for the late reading: from examples with snapshots to a calibrated checkpoint, also when interrupted."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model import checkpoint, late_checkpoint
from model.features.keys import item_key
from model.features.snapshot import Snapshot
from model.features.state import UserTotals
from model.late import Loss
from model.late_model import LateModel
from model.reading import Reading
from model.tokens import BehaviourTokenizer
from sway.training_file import read_knobs
from tests.support.late_examples import audience
from trainer.config import LateTraining, TrainingConfig
from trainer.dataset import Example
from trainer.errors import TrainingRefused
from trainer.evaluation.scoring import score_examples
from trainer.feature_rows import RowMaker, RowSettings
from trainer.job import Trained, train
from trainer.known_texts import known_texts
from trainer.late import score_late
from trainer.late_batches import LateRows
from trainer.late_examples import LateExamples
from trainer.layers import pooled_features
from trainer.progress import OnProgress, Progress, Stopped, ignore_progress
from trainer.text_vectors import TextVectors

LATE = LateTraining(
    numbers_epochs=3,
    epochs=2,
    batch_rows=64,
    learning_rate=1e-2,
    item_fits=4,
    width=8,
    heads=2,
    tower=16,
    behaviours=20,
)
CONFIG = TrainingConfig(reading=Reading.LATE, late=LATE, tensorboard=False, threads=1)


@pytest.fixture(scope="module")
def examples(tokenizer: BehaviourTokenizer) -> list[Example]:
    return audience(1200, tokenizer)


@pytest.fixture
def fit(tiny_base: Path, tmp_path: Path, examples: list[Example]) -> Callable[..., Trained]:
    """Return a function that trains on the oldest 1,000 examples and validates with the rest."""

    def fitted(
        name: str = "work",
        config: TrainingConfig = CONFIG,
        start: Path = tiny_base,
        progress: OnProgress = ignore_progress,
    ) -> Trained:
        work = tmp_path / name
        return train(
            examples[:1000], examples[1000:], start=start, config=config, work=work, progress=progress
        )

    return fitted


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return late_checkpoint.load(trained.folder).late.state_dict()


def same(one: Trained, other: Trained) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[name], b[name]) for name in a)


def test_examples_with_snapshots_make_a_late_checkpoint(fit: Callable[..., Trained]) -> None:
    trained = fit()
    assert checkpoint.reading_of(trained.folder) is Reading.LATE
    parts = late_checkpoint.load(trained.folder)
    assert trained.metrics["valid_auc"] > 0.75
    assert trained.metrics["train_examples"] == 1000
    assert [row["step"] for row in trained.curves] == [1, 2, 3, 4, 5]
    assert parts.table.facts("i3").log_outcomes > 3
    assert parts.table.row_of(item_key("never seen")) == -1
    a, b, c = (parts.table.facts(name).vector for name in ("i2", "i4", "i5"))
    assert a @ b > 0 > a @ c
    assert parts.settings.lam == 0.5
    # The finished training is found and not repeated.
    assert fit().metrics == trained.metrics


def test_an_interrupted_training_resumes_to_the_same_weights(fit: Callable[..., Trained]) -> None:
    whole = fit("whole")
    seen: set[tuple[str, int]] = set()

    def cut(progress: Progress) -> None:
        step = progress.stage, progress.done
        if step not in seen and progress.done % 400 < 5:
            seen.add(step)
            raise Stopped

    for _ in range(60):
        try:
            cut_short = fit("cut", progress=cut)
            break
        except Stopped:
            continue
    assert ("late network: fine-tuning", 4) in seen
    assert same(whole, cut_short)


def test_a_late_champion_keeps_its_network_and_items(
    fit: Callable[..., Trained], tmp_path: Path, tokenizer: BehaviourTokenizer
) -> None:
    champion = fit("champion")
    more = audience(700, tokenizer, seed=1)
    config = replace(
        CONFIG,
        late=replace(LATE, numbers_epochs=1, epochs=1, champion_learning_rate=1e-5, least_judges=5),
        lam=0.25,
    )
    again = train(more[:600], more[600:], start=champion.folder, config=config, work=tmp_path / "again")
    before, after = (late_checkpoint.load(one.folder) for one in (champion, again))
    assert after.settings.lam == after.late.settings.lam == 0.25
    # Step 0 is the champion itself.
    assert [row["step"] for row in again.curves] == [0, 1, 2]
    old, new = weights(champion), weights(again)
    moved = max(float((new[name] - old[name]).abs().max()) for name in old)
    assert 0 < moved < 0.5
    for name in ("i2", "i3"):
        one, other = before.table.facts(name).vector, after.table.facts(name).vector
        assert one @ other > 0.5 * np.linalg.norm(one) * np.linalg.norm(other)
    assert again.metrics["valid_auc"] > 0.75


def test_only_the_tuned_layers_of_the_checkpoint_change(fit: Callable[..., Trained], tiny_base: Path) -> None:
    late = replace(LATE, trained_layers=1, text_learning_rate=1e-2, group_rows=300)
    trained = fit(config=replace(CONFIG, late=late))
    plain = checkpoint.from_base(tiny_base, checkpoint.load_settings(tiny_base))
    found = late_checkpoint.load(trained.folder).encoder
    moved = {
        name
        for (name, a), b in zip(plain.encoder.named_parameters(), found.encoder.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert all("layer.1." in name for name in moved)


def test_knobs_of_the_late_reading_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "knobs.toml"
    file.write_text('reading = "late"\n[late]\nepochs = 7\nloss = "mse"\ntrained_layers = 2\n')
    knobs = read_knobs(file).config
    assert (knobs.reading, knobs.late.epochs, knobs.late.loss) == (Reading.LATE, 7, Loss.MSE)
    assert TrainingConfig.from_plain(json.loads(json.dumps(knobs.to_plain()))) == knobs
    assert knobs.identity() != replace(knobs, late=LateTraining()).identity()
    usual = TrainingConfig().identity()
    # Existing versions keep their names.
    assert "late" not in usual
    assert "reading" not in usual
    for wrong in ({"heads": 5}, {"epochs": 0}, {"held_out": 0.0}, {"layers": 1}):
        with pytest.raises(TrainingRefused):
            TrainingConfig.from_plain({"late": wrong})


def test_without_validation_examples_the_newest_are_held_out(
    tiny_base: Path, tmp_path: Path, examples: list[Example]
) -> None:
    config = replace(CONFIG, late=replace(LATE, held_out=0.2, most_rows=500))
    trained = train(examples, (), start=tiny_base, config=config, work=tmp_path / "work")
    assert trained.metrics["train_examples"] == 400
    assert trained.metrics["examples_too_old"] == 700


def test_examples_without_a_snapshot_are_left_out_and_counted(
    tiny_base: Path, tmp_path: Path, examples: list[Example]
) -> None:
    mixed = [
        replace(one, snapshot=None) if place % 5 == 0 else one for place, one in enumerate(examples[:500])
    ]
    mixed[1] = replace(mixed[1], snapshot=b"\xff what a later version wrote")
    trained = train(mixed, (), start=tiny_base, config=CONFIG, work=tmp_path / "work")
    assert trained.metrics["examples_without_snapshot"] == 101


def test_snapshots_with_non_finite_values_are_left_out(
    tiny_base: Path, tmp_path: Path, examples: list[Example]
) -> None:
    found = list(examples[:400])
    for place, change in ((5, {"mu": float("nan")}), (6, {"totals": UserTotals(1, 1, float("inf"))})):
        snapshot = replace(Snapshot.decode(found[place].snapshot or b""), **change)
        found[place] = replace(found[place], snapshot=snapshot.encode())
    past = Snapshot.decode(found[-1].snapshot or b"")
    # The residuals are still known.
    past.past["z"] = np.nan
    found[-1] = replace(found[-1], snapshot=past.encode())
    trained = train(found, (), start=tiny_base, config=CONFIG, work=tmp_path / "work")
    assert trained.metrics["examples_without_snapshot"] == 3
    assert np.isfinite(trained.metrics["valid_loss"])


def test_snapshots_decide_the_reading_on_a_plain_checkpoint(
    plain_base: Path, tmp_path: Path, examples: list[Example]
) -> None:
    texts = [replace(one, snapshot=None) for one in examples[:30]]
    config = replace(CONFIG, reading=None, trained_layers=1, epochs=1.0)
    for found, reading in ((texts, Reading.JOINT), (examples[:200], Reading.LATE)):
        trained = train(found, (), start=plain_base, config=config, work=tmp_path / reading)
        assert checkpoint.reading_of(trained.folder) is reading


def test_the_late_reading_refuses_examples_without_snapshots(
    tiny_base: Path, tmp_path: Path, examples: list[Example]
) -> None:
    texts = [replace(one, snapshot=None) for one in examples[:30]]
    with pytest.raises(TrainingRefused, match="0 of 30 examples carry one"):
        train(
            texts, (), start=tiny_base, config=replace(CONFIG, reading=Reading.LATE), work=tmp_path / "late"
        )


def test_a_training_may_change_the_reading(
    fit: Callable[..., Trained], tmp_path: Path, examples: list[Example]
) -> None:
    late = fit("late")
    config = replace(CONFIG, reading=Reading.JOINT, trained_layers=1, epochs=1.0, newest_texts=50)
    joint = train(examples[:60], (), start=late.folder, config=config, work=tmp_path / "joint")
    assert checkpoint.reading_of(joint.folder) is Reading.JOINT
    again = fit("back", start=joint.folder, config=replace(CONFIG, reading=Reading.LATE))
    assert checkpoint.reading_of(again.folder) is Reading.LATE


def test_a_loaded_model_scores_like_the_training_rows(
    fit: Callable[..., Trained], examples: list[Example], tokenizer: BehaviourTokenizer
) -> None:
    folder = fit().folder
    parts = late_checkpoint.load(folder)
    model = LateModel.from_folder("v", folder, device=torch.device("cpu"), dtype="fp32")
    scored = np.stack(score_examples(model, examples[1000:], texts=known_texts(examples)), axis=1)

    chosen = LateExamples.of(examples[:1000], examples[1000:], LATE)
    texts = TextVectors.of(
        chosen.texts,
        lambda distinct: pooled_features(
            parts.encoder, [tokenizer.encode((), piece) for piece in tokenizer.words(distinct)], pad_id=0
        ),
    )
    settings = RowSettings(kept=LATE.behaviours, refit_rows=0, unseen_share=0.0)
    maker = RowMaker(texts, settings, start=parts.table, start_until_ms=-1)
    for one in chosen.labelled():
        maker.take(one)
    rows = LateRows.of(maker.rows(), texts.vectors)
    expected = score_late(parts.late, rows, np.flatnonzero(chosen.is_valid), rows.texts)
    np.testing.assert_allclose(scored, expected, atol=1e-4)


def test_few_users_neither_stop_nor_calibrate_a_training(
    fit: Callable[..., Trained], tmp_path: Path, tokenizer: BehaviourTokenizer
) -> None:
    champion = fit("champion")
    # The labels of the training examples contradict those of the validation examples.
    more = audience(300, tokenizer, seed=1, contrary_until=250)

    def again(name: str, **late: float) -> Trained:
        config = replace(CONFIG, late=replace(LATE, champion_learning_rate=1e-2, **late))  # type: ignore[arg-type]
        return train(more[:250], more[250:], start=champion.folder, config=config, work=tmp_path / name)

    many = again("many", least_judges=5)
    assert [row["step"] for row in many.curves] == [0, 1, 2, 3, 4, 5]
    assert {"valid_loss", "calibration_scale"} <= many.metrics.keys()
    few = again("few", least_judges=50)
    assert few.curves == []
    # The validation examples were used for training.
    assert not {"valid_loss", "calibration_scale"} & few.metrics.keys()
    assert (few.metrics["train_examples"], many.metrics["train_examples"]) == (300, 250)
    assert not same(few, champion)
    far = again("far", least_judges=50, champion_share=0.0)
    whole, half, start = (weights(one) for one in (far, few, champion))
    for name, value in half.items():
        torch.testing.assert_close(value, (whole[name] + start[name]) / 2)
