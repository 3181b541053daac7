"""64-bit keys of texts and items, stored in state, examples and checkpoints instead of the strings."""

from functools import lru_cache
from hashlib import blake2b

NO_KEY = 0
"""The key of the empty string; no other string has it."""

_BYTES = 8
# Texts and items repeat, and a cache look-up costs a tenth of a hash.
_KEPT = 16_384


def text_key(text: str) -> int:
    """Return the key of a behaviour's text without its outcome: an unsigned 64-bit BLAKE2b hash."""
    return _key(text)


def item_key(item_id: str) -> int:
    """Return the key of an item: an unsigned 64-bit BLAKE2b hash."""
    return _key(item_id)


@lru_cache(_KEPT)
def _key(text: str) -> int:
    if not text:
        return NO_KEY
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()
    return int.from_bytes(digest, "little") or 1
