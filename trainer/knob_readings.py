"""The reading that each knob belongs to. A knob that would have no effect is an error. No I/O."""

from collections.abc import Collection
from dataclasses import replace

from model.reading import Reading
from trainer.config import TrainingConfig
from trainer.errors import TrainingRefused

OF_BOTH = frozenset(
    {
        "reading",
        "lam",
        "pooling",
        "text",
        "kept_layers",
        "max_grad_norm",
        "seed",
        "threads",
        "tensorboard",
        "wandb",
        "wandb_project",
    }
)
"""Knobs of both readings. `late` belongs to the late reading, all others to the joint one."""

_LATE = frozenset({"late"})


def refuse_other_knobs(given: Collection[str], reading: Reading) -> None:
    """Raise TrainingRefused if a file sets knobs of the other reading.

    given: the names of TrainingConfig's fields that the file sets. reading: the one that is trained.
    A file that sets knobs of both readings and does not set `reading` is valid for either.
    """
    late = _LATE & set(given)
    joint = set(given) - OF_BOTH - _LATE
    others = joint if reading is Reading.LATE else late
    if not others or (late and joint and "reading" not in given):
        return
    other = Reading.JOINT if reading is Reading.LATE else Reading.LATE
    raise TrainingRefused(
        f"this training is for the {reading} reading, but the file of knobs sets knobs of the {other} one: "
        f"{', '.join(sorted(others))}; knobs of the late reading belong under [late]"
    )


def with_flags(
    config: TrainingConfig,
    reading: Reading,
    *,
    epochs: float | None = None,
    learning_rate: float | None = None,
    trained_layers: int | None = None,
    newest_texts: int | None = None,
) -> TrainingConfig:
    """Return the configuration with the flags of a command applied, for the given reading.

    A flag of None leaves its knob unchanged. learning_rate: of BERT. trained_layers: the number of BERT's top layers to
    train. newest_texts: the number of newest texts to learn from. For the joint reading 0 means all, for the last two.
    Raises TrainingRefused for a flag that has no effect on the reading.
    """
    given = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "trained_layers": trained_layers,
        "newest_texts": newest_texts,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if reading is Reading.JOINT:
        for name in ("trained_layers", "newest_texts"):
            if changes.get(name) == 0:
                changes[name] = None  # type: ignore[assignment]
        return replace(config, **changes)  # type: ignore[arg-type]
    return _with_late_flags(config, changes)


def _with_late_flags(config: TrainingConfig, changes: dict[str, float]) -> TrainingConfig:
    if "newest_texts" in changes:
        raise TrainingRefused(
            "--newest-texts is for the joint reading, and this training is late: set most_rows under [late] of --config"
        )
    if changes.get("trained_layers") == 0:
        raise TrainingRefused(
            "--trained-layers 0, for all, is for the joint reading, and this training is late: give a number, or leave "
            "it out to keep BERT as it is"
        )
    if "epochs" in changes:
        if changes["epochs"] != int(changes["epochs"]):
            raise TrainingRefused(
                f"--epochs {changes['epochs']:g}: a late training has whole epochs; fractions are for the joint one"
            )
        changes["epochs"] = int(changes["epochs"])
    if "learning_rate" in changes:
        changes["text_learning_rate"] = changes.pop("learning_rate")
    late = replace(config.late, **changes)  # type: ignore[arg-type]
    if "text_learning_rate" in changes and not late.trained_layers:
        raise TrainingRefused(
            "--learning-rate is that of BERT, which this late training keeps as it is: give --trained-layers as well, "
            "or set the network's learning_rate under [late] of --config"
        )
    return replace(config, late=late)
