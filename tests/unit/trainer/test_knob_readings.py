"""A knob of the other reading is refused by name. A knob of both readings applies to the trained one."""

from pathlib import Path

import pytest

from model.reading import Reading
from sway.training_file import read_knobs
from trainer.config import LateTraining, TrainingConfig
from trainer.errors import TrainingRefused
from trainer.knob_readings import refuse_other_knobs, with_flags

JOINT, LATE = Reading.JOINT, Reading.LATE
USUAL = TrainingConfig(trained_layers=2, epochs=1.0)


def test_flags_apply_to_the_trained_reading() -> None:
    joint = with_flags(USUAL, JOINT, epochs=3.5, learning_rate=1e-3, trained_layers=0, newest_texts=7)
    assert (joint.epochs, joint.learning_rate, joint.trained_layers, joint.newest_texts) == (
        3.5,
        1e-3,
        None,
        7,
    )
    assert joint.late == LateTraining()
    late = with_flags(USUAL, LATE, epochs=3.0, learning_rate=1e-3, trained_layers=1)
    assert late.late == LateTraining(epochs=3, text_learning_rate=1e-3, trained_layers=1)
    # Knobs of the joint reading are unchanged.
    assert late == TrainingConfig(trained_layers=2, epochs=1.0, late=late.late)
    assert with_flags(USUAL, LATE) == with_flags(USUAL, JOINT) == USUAL


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"newest_texts": 5}, "--newest-texts is for the joint reading.*most_rows under .late."),
        ({"trained_layers": 0}, "--trained-layers 0, for all, is for the joint reading"),
        ({"epochs": 1.5}, "--epochs 1.5: a late training has whole epochs"),
        ({"learning_rate": 1e-3}, "--learning-rate is that of BERT.*--trained-layers"),
    ],
)
def test_a_flag_unused_by_late_training_is_refused(flags: dict[str, float], message: str) -> None:
    with pytest.raises(TrainingRefused, match=message) as refused:
        with_flags(USUAL, LATE, **flags)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    if flags != {"epochs": 1.5}:
        with_flags(USUAL, JOINT, **flags)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "reading", "named"),
    [
        ({"epochs", "patience", "seed"}, LATE, "epochs, patience"),
        ({"late", "seed"}, JOINT, "late"),
        ({"late", "epochs", "reading"}, LATE, "epochs"),
        ({"late", "epochs", "reading"}, JOINT, "late"),
    ],
)
def test_knobs_of_the_other_reading_are_refused_by_name(
    given: set[str], reading: Reading, named: str
) -> None:
    with pytest.raises(TrainingRefused, match=f"sets knobs of the .* one: {named};"):
        refuse_other_knobs(given, reading)


@pytest.mark.parametrize("reading", Reading)
@pytest.mark.parametrize("given", [set(), {"seed", "lam", "threads", "text"}, {"epochs", "late"}])
def test_shared_knobs_are_accepted_for_either_reading(given: set[str], reading: Reading) -> None:
    refuse_other_knobs(given, reading)


def test_a_file_that_names_its_reading_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "knobs.toml"
    file.write_text('reading = "late"\nepochs = 2.0\n')
    with pytest.raises(TrainingRefused, match="sets knobs of the joint one: epochs;"):
        read_knobs(file)
    file.write_text('reading = "late"\nseed = 3\n[late]\nepochs = 2\n')
    found = read_knobs(file)
    assert found.given == {"reading", "seed", "late"}
    assert found.config.late.epochs == 2


def test_every_knob_belongs_to_a_reading() -> None:
    for name in TrainingConfig().to_plain():
        outcomes = []
        for reading in Reading:
            try:
                refuse_other_knobs({name}, reading)
                outcomes.append(True)
            except TrainingRefused:
                outcomes.append(False)
        assert any(outcomes), name
