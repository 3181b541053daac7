"""Short names of texts and items: what state, examples and checkpoints hold in place of the words."""

from functools import lru_cache
from hashlib import blake2b

NO_KEY = 0
"""The key of the empty string, and of nothing else."""

_BYTES = 8
_KEPT = 16_384  # texts and items come again and again, and a look-up costs a tenth of a hash


def text_key(text: str) -> int:
    """Return the key of a behaviour's text without its outcome: 64 bits of BLAKE2b, unsigned."""
    return _key(text)


def item_key(item_id: str) -> int:
    """Return the key of an item: 64 bits of BLAKE2b, unsigned."""
    return _key(item_id)


@lru_cache(_KEPT)
def _key(text: str) -> int:
    if not text:
        return NO_KEY
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()
    return int.from_bytes(digest, "little") or 1
