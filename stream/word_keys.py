"""Keys of item and text of behaviours that lie encoded in windows, remembered by their bytes."""

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
_KEPT = 16_384
_MOST_BYTES = 1_024  # of words that are remembered
_Words = bytes | tuple[bytes, str]


class WordKeys:
    """Of one tokenizer: a text is a function of action, item's text and value in words, as it makes them.

    At most 16,384 are remembered; the first goes first.
    """

    def __init__(self, tokenizer: BehaviourTokenizer) -> None:
        self.tokenizer = tokenizer
        self._kept: dict[_Words, bytes] = {}

    def of(self, body: bytes, starts: Sequence[int], rows: Rows) -> NDArray[np.void]:
        """Return records of KEYS, (N,), of the rows that lie in body, whose blocks start there."""
        words = _words(body, rows)
        found = list(map(self._kept.get, words, repeat(b"")))
        missing = [row for row, keys in enumerate(found) if not keys]
        if missing:
            made = self._made([body[starts[row] : block_end(body, starts[row])] for row in missing])
            for row, keys in zip(missing, made, strict=True):
                found[row] = keys
                self._keep(words[row], keys)
        return np.frombuffer(b"".join(found), KEYS)

    def _made(self, blocks: Sequence[bytes]) -> list[bytes]:
        behaviours = [decode_block(block) for block in blocks]
        texts = self.tokenizer.targets(behaviours)
        return [
            np.array((item_key(one.item_id), text_key(piece.text)), KEYS).tobytes()
            for one, piece in zip(behaviours, texts, strict=True)
        ]

    def _keep(self, words: _Words, keys: bytes) -> None:
        if len(words if isinstance(words, bytes) else words[0]) > _MOST_BYTES:
            return
        if len(self._kept) >= _KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[words] = keys


def _words(body: bytes, rows: Rows) -> list[_Words]:
    """Return what the text of each row is made of."""
    strings = [body[start:end] for start, end in zip(rows.starts.tolist(), rows.ends.tolist(), strict=True)]
    words: list[_Words] = [*strings]
    for row in np.flatnonzero(rows.has_value).tolist():
        words[row] = strings[row], value_words(_action(strings[row]), float(rows.value[row]))
    return words


def _action(words: bytes) -> str:
    """Return the first string of some."""
    length = words[0]  # in zigzag, and of one byte or two: the state keeps 64 characters at most
    if length < 0x80:
        return words[1 : 1 + (length >> 1)].decode()
    length = length & 0x7F | words[1] << 7
    return words[2 : 2 + (length >> 1)].decode()
