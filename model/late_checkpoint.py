"""Checkpoints of the late reading: a Hugging Face model folder with the late network and the items.

    config.json, model.safetensors       the encoder, readable by AutoModel.from_pretrained
    tokenizer.json, ...                  the tokenizer's files
    late.safetensors, late.json          the late network (model.late)
    items.safetensors                    keys (M,), vectors (M + 1, 32), bias and log_outcomes (M + 1,) of the item
                                         table; map.weights (d, 33), map.x_mean (d,), map.t_mean (33,)
    sway.json                            format 2: reading, lambda, pooling and text settings

Weights are stored only as safetensors, as in model.checkpoint.
"""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from model import checkpoint, late
from model.errors import ModelIncompatible
from model.features.items import ITEM_DIMENSIONS, ItemMap, ItemTable
from model.late import LateNetwork
from model.network import NetworkSettings, TwoHeadedNetwork, hidden_size
from model.reading import Reading

ITEMS_FILE = "items.safetensors"
_TABLE = ("keys", "vectors", "bias", "log_outcomes")
_MAP = ("weights", "x_mean", "t_mean")


class LateComponents(NamedTuple):
    """The components of a late checkpoint.

    encoder: its heads are not used. item_map: None if training had too few items to fit one.
    """

    encoder: TwoHeadedNetwork
    late: LateNetwork
    table: ItemTable
    item_map: ItemMap | None

    @property
    def settings(self) -> NetworkSettings:
        """The pooling, lambda and text settings."""
        return self.encoder.settings


def save(
    folder: Path,
    encoder: TwoHeadedNetwork,
    late_network: LateNetwork,
    table: ItemTable,
    item_map: ItemMap | None,
    settings: NetworkSettings,
    tokenizer_from: Path,
) -> None:
    """Write a checkpoint into a new or empty folder, in float32.

    settings: the pooling, lambda and text settings to write instead of the encoder's own.
    tokenizer_from: the checkpoint whose tokenizer files are copied unchanged.
    Raises ValueError if the components do not match.
    """
    _check(folder, LateComponents(encoder, late_network, table, item_map))
    checkpoint.save_encoder(encoder, folder, tokenizer_from=tokenizer_from)
    late.save(late_network, folder)
    arrays = {name: getattr(table, name) for name in _TABLE}
    if item_map is not None:
        arrays |= {f"map.{name}": getattr(item_map, name) for name in _MAP}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ITEMS_FILE)
    checkpoint.write_settings(folder, Reading.LATE, asdict(settings))


def load(folder: Path) -> LateComponents:
    """Read a checkpoint written by save(): float32, on the CPU, in eval mode.

    Raises ModelIncompatible if it has another format or its components do not match.
    """
    settings = checkpoint.load_settings(folder, Reading.LATE)
    encoder = checkpoint.load_encoder(folder, settings)
    table, item_map = _load_items(folder / ITEMS_FILE)
    parts = LateComponents(encoder, late.load(folder), table, item_map)
    try:
        _check(folder, parts)
    except ValueError as exc:
        raise ModelIncompatible(str(exc)) from exc
    return parts


def _load_items(path: Path) -> tuple[ItemTable, ItemMap | None]:
    try:
        arrays = load_file(path)
        table = ItemTable(*(arrays[name] for name in _TABLE))
        has_map = any(name.startswith("map.") for name in arrays)
        item_map = ItemMap(*(arrays[f"map.{name}"] for name in _MAP)) if has_map else None
    except (SafetensorError, OSError, KeyError, TypeError) as exc:
        raise ModelIncompatible(f"{path} is not the item file of a Sway checkpoint: {exc!r}") from exc
    return table, item_map


def _check(folder: Path, parts: LateComponents) -> None:
    """Raise ValueError if the components do not match. Some mismatches would otherwise never raise an error."""
    width = hidden_size(parts.encoder.encoder)
    if parts.late.settings.text_width != width:
        raise ValueError(
            f"{folder}: the late network reads text vectors of dimension {parts.late.settings.text_width}, "
            f"but the encoder's have {width}"
        )
    table, item_map = parts.table, parts.item_map
    rows = len(table.keys) + 1
    _fits(folder, "keys", table.keys, (rows - 1,), np.uint64)
    _fits(folder, "vectors", table.vectors, (rows, ITEM_DIMENSIONS))
    _fits(folder, "bias", table.bias, (rows,))
    _fits(folder, "log_outcomes", table.log_outcomes, (rows,))
    if not (table.keys[:-1] < table.keys[1:]).all():
        raise ValueError(f"{folder}: the item keys are not in ascending order")
    if item_map is not None:
        _fits(folder, "map.weights", item_map.weights, (width, ITEM_DIMENSIONS + 1))
        _fits(folder, "map.x_mean", item_map.x_mean, (width,))
        _fits(folder, "map.t_mean", item_map.t_mean, (ITEM_DIMENSIONS + 1,))


def _fits(
    folder: Path,
    name: str,
    array: NDArray[np.generic],
    shape: tuple[int, ...],
    kind: type[np.generic] = np.float32,
) -> None:
    if array.shape != shape or array.dtype != kind:
        raise ValueError(
            f"{folder}: {name} of the items is {array.dtype} {array.shape}, expected {np.dtype(kind)} {shape}"
        )
    if kind is np.float32 and not np.isfinite(array).all():
        raise ValueError(f"{folder}: {name} of the items has values that are not finite")
