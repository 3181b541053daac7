"""Reads a checkpoint of either reading into memory."""

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
"""A version in memory, ready to score; `reading` says which it is."""


class LoadOptions(TypedDict, total=False):
    """How a version is to run.

    device, dtype: as model.device chooses them. cached_pieces: behaviours whose ids are kept; cached_vectors: texts
    whose vectors a late model keeps. tokenizer: one in use, shared if the version reads texts in the same way.
    """

    device: torch.device | None
    dtype: str
    cached_pieces: int
    cached_vectors: int
    tokenizer: BehaviourTokenizer | None


def load_model(version: str, folder: Path, **options: Unpack[LoadOptions]) -> Model:
    """Read a checkpoint as its reading wants it.

    Raises ModelIncompatible if it is of a format that is not known, or its parts do not fit each other.
    """
    if checkpoint.reading_of(folder) is Reading.LATE:
        return LateModel.from_folder(version, folder, **options)
    options.pop("cached_vectors", None)
    return LoadedModel.from_folder(version, folder, **options)  # type: ignore[misc]  # mypy does not see the pop


def joint(model: Model) -> LoadedModel:
    """Return a model of the joint reading, for who can use no other; raises ModelIncompatible for any other."""
    if isinstance(model, LoadedModel):
        return model
    raise ModelIncompatible(
        f"model {model.version} is of the {model.reading} reading; this needs a joint one"
    )
