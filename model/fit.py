"""Whether a tokenizer fits an encoder, and which tokenizer a checkpoint takes."""

from pathlib import Path

from model.errors import ModelIncompatible
from model.pretrained import PretrainedConfig
from model.text import TextSettings
from model.tokens import BehaviourTokenizer


def tokenizer_for(
    folder: Path, text: TextSettings, cached_pieces: int, in_use: BehaviourTokenizer | None
) -> BehaviourTokenizer:
    """Return the tokenizer in use if it reads like the checkpoint's, so that kept ids stay valid; or the latter."""
    if in_use is not None and in_use.reads_like(folder, text):
        return in_use
    return BehaviourTokenizer.from_folder(folder, text, cached_pieces=cached_pieces)


def check_fit(version: str, tokenizer: BehaviourTokenizer, config: PretrainedConfig) -> None:
    """Refuse a tokenizer whose ids or lengths the encoder has no embedding for: on a GPU that is fatal.

    Raises ModelIncompatible.
    """
    vocabulary = int(getattr(config, "vocab_size", 0))
    if tokenizer.vocabulary_size > vocabulary:
        raise ModelIncompatible(
            f"model {version}: the tokenizer has {tokenizer.vocabulary_size} ids, the encoder only {vocabulary}"
        )
    max_tokens = tokenizer.settings.max_tokens
    positions = int(getattr(config, "max_position_embeddings", max_tokens))
    if max_tokens > positions:
        raise ModelIncompatible(
            f"model {version}: max_tokens={max_tokens}, the encoder has {positions} positions"
        )


def pad_id_of(config: PretrainedConfig) -> int:
    """Return the id that fills up short texts."""
    return int(getattr(config, "pad_token_id", None) or 0)
