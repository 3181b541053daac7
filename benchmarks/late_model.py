"""An untrained late model on the base encoder; it costs as much as a trained one."""

from pathlib import Path

import numpy as np
import torch

from model import checkpoint, late_checkpoint
from model.features.items import ITEM_DIMENSIONS, ItemMap, ItemTable
from model.features.keys import item_key
from model.late import LateNetwork, LateSettings
from model.manifest import Manifest
from model.network import NetworkSettings, Pooling
from model.registry import ModelRegistry
from sway.base_model import minilm_dir
from sway.demo import movielens

_MODEL = "all-minilm-l6-v2"


def publish_late_model(folder: Path) -> Path:
    """Publish the model as champion of a registry without a champion; return the registry's folder."""
    registry = ModelRegistry(folder)
    if registry.champion() is None:
        base, settings = minilm_dir(), NetworkSettings(pooling=Pooling.MEAN)
        torch.manual_seed(0)
        random = np.random.default_rng(0)
        table, item_map = _items(random)
        late_checkpoint.save(
            folder / "checkpoint",
            checkpoint.from_base(base, settings),
            LateNetwork(LateSettings()),
            table,
            item_map,
            settings,
            tokenizer_from=base,
        )
        registry.promote(registry.publish(folder / "checkpoint", Manifest("late", _MODEL, 0)))
    return folder


def _items(random: np.random.Generator) -> tuple[ItemTable, ItemMap]:
    """Return a table with nine tenths of the films, and a map for the others."""
    ids = sorted({event.item_id for event, _ in movielens.rated_events(movielens.fetch())})
    keys = np.sort(np.array([item_key(item_id) for item_id in ids if random.random() < 0.9], np.uint64))
    size, width = len(keys) + 1, LateSettings().text_width

    def drawn(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return random.normal(0, 0.1, shape).astype(np.float32)

    table = ItemTable(keys, drawn(size, ITEM_DIMENSIONS), drawn(size), np.abs(drawn(size)))
    columns = ITEM_DIMENSIONS + 1
    return table, ItemMap(drawn(width, columns), drawn(width), drawn(columns))
