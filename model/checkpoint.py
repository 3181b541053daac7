"""Checkpoints: a Hugging Face model folder with the heads and Sway's settings.

    config.json, model.safetensors    the encoder, readable by AutoModel.from_pretrained
    tokenizer.json, ...               the tokenizer's files
    heads.safetensors                 heads.weight (2, d), heads.bias (2,)
    sway.json                         format 1: lambda, pooling and text settings

Weights are stored only as safetensors, because a pickle can run code. A checkpoint of the late reading, format 2, has
other files in addition to the encoder: see model.late_checkpoint.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from model.errors import ModelIncompatible
from model.network import NetworkSettings, Pooling, TwoHeadedNetwork
from model.pretrained import AutoModel, PreTrainedModel
from model.reading import Reading
from model.text import TextSettings

HEADS_FILE = "heads.safetensors"
SETTINGS_FILE = "sway.json"
_FORMATS = {1: Reading.JOINT, 2: Reading.LATE}
# Values for checkpoints saved before the setting existed.
_TEXT_BEFORE = {"item_rates": False}
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "added_tokens.json",
)


def from_base(base: Path, settings: NetworkSettings, *, layers: int | None = None) -> TwoHeadedNetwork:
    """Build a network on a Hugging Face checkpoint, with the heads at zero.

    base: a folder with config.json and model.safetensors.
    layers: the number of encoder layers to keep, counted from the input; None keeps all.
    Raises ModelIncompatible if the folder is not such a checkpoint.
    """
    return TwoHeadedNetwork(_load_encoder(base, layers), settings)


def save(network: TwoHeadedNetwork, folder: Path, *, tokenizer_from: Path) -> None:
    """Write a checkpoint into a new or empty folder, in float32.

    tokenizer_from: the checkpoint whose tokenizer files are copied unchanged.
    """
    save_encoder(network, folder, tokenizer_from=tokenizer_from)
    heads = {f"heads.{name}": value.cpu() for name, value in network.heads.state_dict().items()}
    save_file(heads, folder / HEADS_FILE)
    write_settings(folder, Reading.JOINT, asdict(network.settings))


def save_encoder(network: TwoHeadedNetwork, folder: Path, *, tokenizer_from: Path) -> None:
    """Write the encoder and the tokenizer's files into a new or empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet_transformers():
        network.encoder.save_pretrained(folder, safe_serialization=True)
    for name in TOKENIZER_FILES:
        if (tokenizer_from / name).is_file():
            shutil.copyfile(tokenizer_from / name, folder / name)


def write_settings(folder: Path, reading: Reading, settings: dict[str, Any]) -> None:
    """Write sway.json in the format of the reading. settings: the fields of model.network.NetworkSettings."""
    number = next(number for number, of in _FORMATS.items() if of is reading)
    # Format 1 predates the reading field.
    named = {} if reading is Reading.JOINT else {"reading": reading.value}
    text = json.dumps({"format": number, **named, **settings}, indent=2)
    (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> TwoHeadedNetwork:
    """Read a checkpoint written by save(): float32, on the CPU, in eval mode.

    Raises ModelIncompatible if it has another format or its parts do not match.
    """
    network = load_encoder(folder, load_settings(folder))
    try:
        heads = load_file(folder / HEADS_FILE)
        network.heads.load_state_dict({name.removeprefix("heads."): value for name, value in heads.items()})
    except (SafetensorError, OSError, RuntimeError) as exc:
        raise ModelIncompatible(f"{HEADS_FILE} in {folder} does not match the encoder: {exc}") from exc
    return network


def load_encoder(folder: Path, settings: NetworkSettings) -> TwoHeadedNetwork:
    """Read a checkpoint's encoder: float32, on the CPU, in eval mode; the heads are at zero."""
    network = TwoHeadedNetwork(_load_encoder(folder, None), settings)
    # Copied, because the weights are memory-mapped from a file that may change or disappear.
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
    return network.eval()


def reading_of(folder: Path) -> Reading:
    """Return the reading of a checkpoint. Raises ModelIncompatible if its format is unknown."""
    return _read_settings(folder)[0]


def load_settings(folder: Path, reading: Reading = Reading.JOINT) -> NetworkSettings:
    """Read a checkpoint's settings. Raises ModelIncompatible if the format is unknown or the reading differs."""
    found, raw = _read_settings(folder)
    path = folder / SETTINGS_FILE
    if found is not reading:
        raise ModelIncompatible(f"{path}: the checkpoint has the {found} reading; {reading} is required")
    try:
        text = TextSettings(**{**_TEXT_BEFORE, **raw.pop("text")})
        return NetworkSettings(pooling=Pooling(raw.pop("pooling")), text=text, **raw)
    except (ValueError, TypeError, KeyError) as exc:
        raise ModelIncompatible(f"{path} is not the settings file of a Sway checkpoint: {exc!r}") from exc


def _read_settings(folder: Path) -> tuple[Reading, dict[str, Any]]:
    """Return the reading and the other settings."""
    path = folder / SETTINGS_FILE
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number = raw.pop("format")
        reading = _FORMATS.get(number)
        if reading is None:
            known = " and ".join(map(str, _FORMATS))
            raise ModelIncompatible(f"{path}: the format is {number!r}; this version reads formats {known}")
        if reading is not Reading.JOINT and raw.pop("reading") != reading:
            raise ModelIncompatible(f"{path}: format {number} requires the {reading} reading, found another")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
        raise ModelIncompatible(f"{path} is not the settings file of a Sway checkpoint: {exc!r}") from exc
    return reading, raw


def _load_encoder(folder: Path, layers: int | None) -> PreTrainedModel:
    """Load an encoder and check that all weights are present, except those of the unused pooler."""
    kept = {} if layers is None else {"num_hidden_layers": layers}
    try:
        with _quiet_transformers():
            encoder, loading = AutoModel.from_pretrained(
                folder,
                attn_implementation="sdpa",
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
                trust_remote_code=False,
                use_safetensors=True,
                **kept,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as exc:
        raise ModelIncompatible(f"{folder} is not a Hugging Face checkpoint with safetensors: {exc}") from exc
    missing = [name for name in loading["missing_keys"] if not name.startswith("pooler.")]
    if missing or loading["mismatched_keys"]:
        raise ModelIncompatible(
            f"{folder}: {len(missing)} weights are missing (first: {sorted(missing)[:1]}) and "
            f"{len(loading['mismatched_keys'])} have a shape that differs from config.json"
        )
    return cast("PreTrainedModel", encoder)


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Suppress the progress bars and load reports of transformers."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
