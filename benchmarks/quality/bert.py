"""MiniLM over the distinct behaviour texts of the data: its vectors as it is, and its top layers to be tuned."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model import checkpoint
from model.network import NetworkSettings, TwoHeadedNetwork
from model.text import TextSettings
from model.tokens import BehaviourTokenizer, EncodedText
from schemas.records import BehaviorEvent, Behaviour
from sway.base_model import minilm_dir
from trainer.layers import pooled_features
from trainer.text_encoder import TopLayers


def frozen_vectors(events: Sequence[BehaviorEvent], kept: Path) -> NDArray[np.float32]:
    """Return the vectors of N texts by MiniLM as it is, float32 (N, 384), from a file where it holds so many."""
    if kept.is_file():
        vectors: NDArray[np.float32] = np.load(kept)
        if len(vectors) == len(events):
            return vectors
    vectors = pooled_features(_network(), _encoded(events), pad_id=0)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, vectors)
    return vectors


def top_layers(events: Sequence[BehaviorEvent], trained_layers: int) -> TopLayers:
    """Return MiniLM's top layers over N texts, to be tuned."""
    return TopLayers(_network(), _encoded(events), trained_layers, pad_id=0)


def _network() -> TwoHeadedNetwork:
    return checkpoint.from_base(minilm_dir(), NetworkSettings())


def _encoded(events: Sequence[BehaviorEvent]) -> list[EncodedText]:
    """Encode behaviours alone, without a history, as the late reading reads each."""
    tokenizer = BehaviourTokenizer.from_folder(minilm_dir(), TextSettings())
    behaviours = [
        Behaviour(e.event_id, 0, e.occurred_at, e.action, e.item_id, e.item_text, e.value) for e in events
    ]
    return [tokenizer.encode((), piece) for piece in tokenizer.targets(behaviours)]
