"""What a training starts from: a plain Hugging Face checkpoint, or a Sway checkpoint of either reading."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model import checkpoint, late_checkpoint
from model.features.items import NO_ITEMS, ItemMap, ItemTable
from model.late import LateNetwork
from model.network import NetworkSettings, TwoHeadedNetwork
from model.reading import Reading
from trainer.config import TrainingConfig
from trainer.dataset import Example
from trainer.errors import TrainingRefused


def is_sway_checkpoint(folder: Path) -> bool:
    """Whether a folder is a checkpoint of ours, not a plain Hugging Face one."""
    return (folder / checkpoint.SETTINGS_FILE).is_file()


def choose_reading(config: TrainingConfig, start: Path, train: Sequence[Example]) -> Reading:
    """Return the reading to train for: what is asked for, else the start's, else what the examples allow.

    Raises TrainingRefused where the reading is late and too few examples carry snapshots.
    """
    with_snapshot = sum(example.snapshot is not None for example in train)
    if config.reading is not None:
        reading = config.reading
    elif is_sway_checkpoint(start):
        reading = checkpoint.reading_of(start)
    else:
        reading = Reading.LATE if with_snapshot * 2 >= len(train) else Reading.JOINT
    if reading is Reading.LATE and with_snapshot < 2:
        raise TrainingRefused(
            f"the late reading learns from snapshots, and {with_snapshot} of {len(train)} examples carry one: workers "
            'write them to sway.examples; texts alone can be learned from with reading = "joint"'
        )
    return reading


@dataclass(frozen=True, slots=True)
class LateStart:
    """encoder: of texts; its settings hold lambda, pooling and text settings.

    network, table, item_map: of a late checkpoint; else None and no items.
    """

    encoder: TwoHeadedNetwork
    network: LateNetwork | None = None
    table: ItemTable = NO_ITEMS
    item_map: ItemMap | None = None


def open_joint(start: Path, config: TrainingConfig) -> TwoHeadedNetwork:
    """Return the network to train for the joint reading; from a late checkpoint the encoder, with heads at zero."""
    if not is_sway_checkpoint(start):
        return _from_base(start, config)
    if checkpoint.reading_of(start) is Reading.LATE:
        network = late_checkpoint.load(start).encoder
    else:
        network = checkpoint.load(start)
    return _with_lam(network, config)


def open_late(start: Path, config: TrainingConfig) -> LateStart:
    """Return what to train for the late reading; from a joint checkpoint the encoder."""
    if not is_sway_checkpoint(start):
        return LateStart(_from_base(start, config))
    if checkpoint.reading_of(start) is Reading.JOINT:
        return LateStart(_with_lam(checkpoint.load(start), config))
    parts = late_checkpoint.load(start)
    return LateStart(_with_lam(parts.encoder, config), parts.late, parts.table, parts.item_map)


def _from_base(start: Path, config: TrainingConfig) -> TwoHeadedNetwork:
    given = {"pooling": config.pooling, "lam": config.lam, "text": config.text}
    settings = NetworkSettings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    return checkpoint.from_base(start, settings, layers=config.kept_layers)


def _with_lam(network: TwoHeadedNetwork, config: TrainingConfig) -> TwoHeadedNetwork:
    if config.lam is not None:
        network.settings = replace(network.settings, lam=config.lam)
    return network
