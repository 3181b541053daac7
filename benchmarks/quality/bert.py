"""MiniLM on the distinct behaviour texts of the data: vectors of the frozen model, and top layers to fine-tune."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model import checkpoint
from model.features.keys import item_key, text_key
from model.network import NetworkSettings, TwoHeadedNetwork
from model.text import TextSettings
from model.tokens import BehaviourTokenizer, EncodedText
from schemas.records import BehaviorEvent
from schemas.state_records import Behaviour
from sway.base_model import minilm_dir
from trainer.layers import pooled_features
from trainer.text_encoder import TopLayers
from trainer.text_vectors import BehaviourText


def text_of() -> Callable[[BehaviorEvent], str]:
    """Return a function from an event to its text as scored."""
    tokenizer = _tokenizer()

    def words(event: BehaviorEvent) -> str:
        behaviour = Behaviour(
            event.event_id, 0, event.occurred_at, event.action, event.item_id, event.item_text, event.value
        )
        return tokenizer.target(behaviour).text

    return words


def said(events: Iterable[BehaviorEvent]) -> list[BehaviourText]:
    """Return the keys and the text of each event."""
    words = text_of()
    texts = [(event.item_id, words(event)) for event in events]
    return [BehaviourText(item_key(item_id), text_key(text), text) for item_id, text in texts]


def frozen_vectors(texts: Sequence[str], kept: Path) -> NDArray[np.float32]:
    """Return the vectors of N texts by frozen MiniLM, float32 (N, 384). kept: the cache file, used if it has N rows."""
    if kept.is_file():
        vectors: NDArray[np.float32] = np.load(kept)
        if len(vectors) == len(texts):
            return vectors
    vectors = pooled_features(_network(), _encoded(texts), pad_id=0).astype(np.float16).astype(np.float32)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, vectors)
    return vectors


def top_layers(texts: Sequence[str], trained_layers: int) -> TopLayers:
    """Return MiniLM's top layers over N texts, for fine-tuning."""
    return TopLayers(_network(), _encoded(texts), trained_layers, pad_id=0)


def _network() -> TwoHeadedNetwork:
    return checkpoint.from_base(minilm_dir(), NetworkSettings())


def _tokenizer() -> BehaviourTokenizer:
    return BehaviourTokenizer.from_folder(minilm_dir(), TextSettings())


def _encoded(texts: Sequence[str]) -> list[EncodedText]:
    """Encode behaviours without a history, as in the late reading."""
    tokenizer = _tokenizer()
    return [tokenizer.encode((), piece) for piece in tokenizer.words(texts)]
