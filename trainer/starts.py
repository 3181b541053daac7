"""The start of a training: a plain Hugging Face checkpoint, or a Sway checkpoint of either reading."""

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
    """Return whether a folder is a Sway checkpoint, not a plain Hugging Face one."""
    return (folder / checkpoint.SETTINGS_FILE).is_file()


def choose_reading(config: TrainingConfig, start: Path, train: Sequence[Example]) -> Reading:
    """Return the reading to train for: the configured one, else the start's, else by the examples.

    For a plain checkpoint that is late if at least half of the examples carry snapshots, otherwise joint.
    Raises TrainingRefused if the reading is late and fewer than two examples carry snapshots.
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
            'write them to sway.examples; to learn from texts alone, set reading = "joint"'
        )
    return reading


@dataclass(frozen=True, slots=True)
class LateStart:
    """The start of a late training.

    encoder: the text encoder; its settings contain lambda, pooling and text settings.
    network, table, item_map: from a late checkpoint; otherwise None and an empty table.
    """

    encoder: TwoHeadedNetwork
    network: LateNetwork | None = None
    table: ItemTable = NO_ITEMS
    item_map: ItemMap | None = None


def open_joint(start: Path, config: TrainingConfig) -> TwoHeadedNetwork:
    """Return the network to train for the joint reading. A late start gives its encoder, with zero heads."""
    if not is_sway_checkpoint(start):
        return _from_base(start, config)
    if checkpoint.reading_of(start) is Reading.LATE:
        network = late_checkpoint.load(start).encoder
    else:
        network = checkpoint.load(start)
    return _with_lam(network, config)


def open_late(start: Path, config: TrainingConfig) -> LateStart:
    """Return the start of a late training. From a joint checkpoint: its encoder only."""
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
