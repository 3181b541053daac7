"""Loading of checkpoints of either reading."""

from pathlib import Path
from typing import TypeAlias, TypedDict, Unpack

import torch

from model import checkpoint
from model.errors import ModelIncompatible
from model.late_model import LateModel
from model.loaded import LoadedModel
from model.reading import Reading
from model.tokens import BehaviourTokenizer

Model: TypeAlias = LoadedModel | LateModel
"""A loaded version; its `reading` attribute tells the kind."""


class LoadOptions(TypedDict, total=False):
    """Options for loading a version.

    device, dtype: see model.device. cached_pieces: the number of behaviours whose token ids are cached.
    cached_vectors: the number of texts whose vectors a late model caches. tokenizer: the tokenizer in use; it is shared
    if the version has the same tokenizer and text settings.
    """

    device: torch.device | None
    dtype: str
    cached_pieces: int
    cached_vectors: int
    tokenizer: BehaviourTokenizer | None


def load_model(version: str, folder: Path, **options: Unpack[LoadOptions]) -> Model:
    """Load a checkpoint as a model of its reading.

    Raises ModelIncompatible if its format is unknown or its components do not match.
    """
    if checkpoint.reading_of(folder) is Reading.LATE:
        return LateModel.from_folder(version, folder, **options)
    options.pop("cached_vectors", None)
    return LoadedModel.from_folder(version, folder, **options)  # type: ignore[misc]  # mypy does not see the pop


def joint(model: Model) -> LoadedModel:
    """Return the model if it has the joint reading; raise ModelIncompatible otherwise."""
    if isinstance(model, LoadedModel):
        return model
    raise ModelIncompatible(
        f"model {model.version} has the {model.reading} reading; this needs a joint model"
    )
