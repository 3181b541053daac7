"""Compatibility of tokenizers and encoders, and the choice of a checkpoint's tokenizer."""

from pathlib import Path

from model.errors import ModelIncompatible
from model.pretrained import PretrainedConfig
from model.text import TextSettings
from model.tokens import BehaviourTokenizer


def tokenizer_for(
    folder: Path, text: TextSettings, cached_pieces: int, in_use: BehaviourTokenizer | None
) -> BehaviourTokenizer:
    """Return in_use if it equals the checkpoint's tokenizer, so that cached ids stay valid; else load the latter."""
    if in_use is not None and in_use.matches(folder, text):
        return in_use
    return BehaviourTokenizer.from_folder(folder, text, cached_pieces=cached_pieces)


def check_fit(version: str, tokenizer: BehaviourTokenizer, config: PretrainedConfig) -> None:
    """Check that the encoder has an embedding for every token id and position.

    A missing embedding is a fatal error on a GPU. Raises ModelIncompatible.
    """
    vocabulary = int(getattr(config, "vocab_size", 0))
    if tokenizer.vocabulary_size > vocabulary:
        raise ModelIncompatible(
            f"model {version}: the tokenizer has {tokenizer.vocabulary_size} ids, but the encoder has {vocabulary}"
        )
    max_tokens = tokenizer.settings.max_tokens
    positions = int(getattr(config, "max_position_embeddings", max_tokens))
    if max_tokens > positions:
        raise ModelIncompatible(
            f"model {version}: max_tokens={max_tokens}, but the encoder has {positions} positions"
        )


def pad_id_of(config: PretrainedConfig) -> int:
    """Return the padding id."""
    return int(getattr(config, "pad_token_id", None) or 0)
