"""Short names of texts and items: what state, examples and checkpoints hold in place of the words."""

from hashlib import blake2b

NO_KEY = 0
"""The key of the empty string, and of nothing else."""

_BYTES = 8


def text_key(text: str) -> int:
    """Return the key of a behaviour's text without its outcome: 64 bits of BLAKE2b, unsigned."""
    return _key(text)


def item_key(item_id: str) -> int:
    """Return the key of an item: 64 bits of BLAKE2b, unsigned."""
    return _key(item_id)


def _key(text: str) -> int:
    if not text:
        return NO_KEY
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()
    return int.from_bytes(digest, "little") or 1
