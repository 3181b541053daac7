"""Text vectors of a training, saved in parts so that an interrupted training can resume."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.network import TwoHeadedNetwork
from model.tokens import BehaviourTokenizer, EncodedText
from trainer.layers import pooled_features

Floats = NDArray[np.float32]

_PART_TEXTS = 4_096


def encoded(texts: Sequence[str], tokenizer: BehaviourTokenizer) -> list[EncodedText]:
    """Tokenize each behaviour text alone, without a history, as the late reading does."""
    return [tokenizer.encode((), piece) for piece in tokenizer.words(texts)]


def kept_vectors(
    network: TwoHeadedNetwork,
    texts: Sequence[str],
    tokenizer: BehaviourTokenizer,
    folder: Path,
    *,
    pad_id: int,
    progress: Callable[[int], None] = lambda _done: None,
) -> Floats:
    """Return the vectors of N texts, float32 (N, d); load the parts that the folder contains.

    folder: of this training, for these texts in this order. progress: called with the number of texts done.
    """
    found = [np.empty((0, network.heads.in_features), np.float32)]
    for first in range(0, len(texts), _PART_TEXTS):
        part, path = texts[first : first + _PART_TEXTS], folder / f"texts-{first}.npy"
        vectors = _kept(path, len(part))
        if vectors is None:
            report = _after(first, progress)
            features = pooled_features(network, encoded(part, tokenizer), pad_id=pad_id, progress=report)
            vectors = features.astype(np.float16).astype(np.float32)  # rounded as in model.behaviour_encoder
            _keep(path, vectors)
        found.append(vectors)
        progress(first + len(part))
    return np.concatenate(found)


def _kept(path: Path, rows: int) -> Floats | None:
    with contextlib.suppress(OSError, ValueError, EOFError):
        vectors: Floats = np.load(path)
        return vectors if len(vectors) == rows else None
    return None


def _keep(path: Path, vectors: Floats) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part.npy")
    np.save(partial, vectors)
    partial.replace(path)


def _after(first: int, progress: Callable[[int], None]) -> Callable[[int], None]:
    return lambda done: progress(first + done)
