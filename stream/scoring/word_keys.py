"""A cache of item and text keys of encoded behaviours."""

from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from model.features.keys import item_key, text_key
from model.tokens import BehaviourTokenizer
from model.words import value_words
from schemas.window_rows import Rows
from schemas.window_state import block_end, decode_block

KEYS = np.dtype([("item", "<u8"), ("text", "<u8")])
_MAX_ENTRIES = 16_384
_MAX_KEY_BYTES = 1_024  # larger strings are not cached
_Words = bytes | tuple[bytes, str]


class WordKeys:
    """Item and text keys of behaviours under one tokenizer, cached by the encoded strings.

    This is sound because a text is a function of the action, the item's text and the value in words. At most 16,384
    entries; the oldest one is evicted first.
    """

    def __init__(self, tokenizer: BehaviourTokenizer) -> None:
        self.tokenizer = tokenizer
        self._cache: dict[_Words, bytes] = {}

    def of(self, body: bytes, starts: Sequence[int], rows: Rows) -> NDArray[np.void]:
        """Return the keys of rows, records of KEYS (N,). body, starts: the blocks of the rows and their starts."""
        words = _words(body, rows)
        cached = list(map(self._cache.get, words, repeat(b"")))
        missing = [row for row, keys in enumerate(cached) if not keys]
        if missing:
            computed = self._compute([body[starts[row] : block_end(body, starts[row])] for row in missing])
            for row, keys in zip(missing, computed, strict=True):
                cached[row] = keys
                self._store(words[row], keys)
        return np.frombuffer(b"".join(cached), KEYS)

    def _compute(self, blocks: Sequence[bytes]) -> list[bytes]:
        behaviours = [decode_block(block) for block in blocks]
        texts = self.tokenizer.targets(behaviours)
        return [
            np.array((item_key(one.item_id), text_key(piece.text)), KEYS).tobytes()
            for one, piece in zip(behaviours, texts, strict=True)
        ]

    def _store(self, words: _Words, keys: bytes) -> None:
        if len(words if isinstance(words, bytes) else words[0]) > _MAX_KEY_BYTES:
            return
        if len(self._cache) >= _MAX_ENTRIES:
            del self._cache[next(iter(self._cache))]
        self._cache[words] = keys


def _words(body: bytes, rows: Rows) -> list[_Words]:
    """Return the cache key of each row: everything that its text depends on."""
    strings = [body[start:end] for start, end in zip(rows.starts.tolist(), rows.ends.tolist(), strict=True)]
    words: list[_Words] = [*strings]
    for row in np.flatnonzero(rows.has_value).tolist():
        words[row] = strings[row], value_words(_action(strings[row]), float(rows.value[row]))
    return words


def _action(words: bytes) -> str:
    """Return the first string: the action."""
    # A zigzag varint of one or two bytes, since the state keeps at most 64 characters of an action.
    length = words[0]
    if length < 0x80:
        return words[1 : 1 + (length >> 1)].decode()
    length = length & 0x7F | words[1] << 7
    return words[2 : 2 + (length >> 1)].decode()
