"""Which knobs are of which reading: one that would do nothing is refused, and never passed over in silence. Pure."""

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
"""Knobs that count whichever reading is trained; `late` is of the late one, all others of the joint one."""

_LATE = frozenset({"late"})


def refuse_other_knobs(given: Collection[str], reading: Reading) -> None:
    """Raise TrainingRefused if a file sets knobs of another reading than the one that is trained.

    given: names of TrainingConfig's fields that the file sets. One that names no reading, and sets knobs of both,
    serves either.
    """
    late = _LATE & set(given)
    joint = set(given) - OF_BOTH - _LATE
    others = joint if reading is Reading.LATE else late
    if not others or (late and joint and "reading" not in given):
        return
    other = Reading.JOINT if reading is Reading.LATE else Reading.LATE
    raise TrainingRefused(
        f"this training is of the {reading} reading, and the file of knobs sets what is of the {other} one: "
        f"{', '.join(sorted(others))}; knobs of the late reading stand under [late]"
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
    """Return the knobs with those that flags of a command set, for the reading that is trained; None sets none.

    learning_rate: of BERT. trained_layers: its top so many, newest_texts: to learn from; 0 for all.
    Raises TrainingRefused for a flag that the reading has no use for.
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
            "--newest-texts is of the joint reading, and this training is late: set most_rows under [late] of --config"
        )
    if changes.get("trained_layers") == 0:
        raise TrainingRefused(
            "--trained-layers 0, for all, is of the joint reading, and this training is late: give a number, or leave "
            "it out to keep BERT as it is"
        )
    if "epochs" in changes:
        if changes["epochs"] != int(changes["epochs"]):
            raise TrainingRefused(
                f"--epochs {changes['epochs']:g}: a late training has whole epochs; parts are of the joint reading"
            )
        changes["epochs"] = int(changes["epochs"])
    if "learning_rate" in changes:
        changes["text_learning_rate"] = changes.pop("learning_rate")
    late = replace(config.late, **changes)  # type: ignore[arg-type]
    if "text_learning_rate" in changes and not late.trained_layers:
        raise TrainingRefused(
            "--learning-rate is of BERT, which this late training keeps as it is: give --trained-layers as well, or, "
            "for the network, set learning_rate under [late] of --config"
        )
    return replace(config, late=late)
