"""Token ids of behaviour texts, built by concatenation.

In WordPiece, a behaviour's ids do not depend on its neighbours if white space or a separator is between them. Each
rendered behaviour is therefore tokenised once and cached as a Piece. The ids of a text, `[CLS] A [SEP] B [SEP]`, are
concatenated from Pieces and equal those of the tokenised pair; a property test checks this.
"""

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from sys import getsizeof
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from model.errors import TokenizerIncompatible
from model.hashing import sha256_of
from model.text import (
    SEPARATOR,
    BehaviourFields,
    Rendered,
    TextSettings,
    render,
    split_behaviours,
    split_history,
)
from model.words import (
    HABITS_START,
    ITEM_START,
    NO_HABITS,
    NO_OUTCOMES,
    Habits,
    ItemCounts,
    habit_words,
    item_rate_words,
    outcome_words,
    value_words,
)

TOKENIZER_FILE = "tokenizer.json"

# "user likes 100 percent of several, lately 100 ; item liked by 100 percent of several", with a margin.
_RATES_TOKENS = 24

# Memory of a Piece's and its key's objects and of the cache entry.
_PIECE_BYTES = 420
# Average limit per cached Piece.
_MAX_BYTES_PER_PIECE = 1024
# Ids are int32 in native byte order, which NumPy reads for a whole batch without a loop.
ID_BYTES = 4


@dataclass(slots=True, eq=False)
class Piece:
    """A rendered behaviour and its token ids. Treat it as immutable.

    ids: int32 in native byte order, without special tokens. tokens: the number of ids.
    cut: whether the item text was truncated.
    """

    text: str
    ids: bytes
    tokens: int
    cut: bool

    def __repr__(self) -> str:
        # Without the user's text, because a repr may be logged.
        return f"Piece({self.tokens} tokens)"


@dataclass(slots=True)
class EncodedText:
    """The token ids of one behaviour text. Treat it as immutable.

    ids: int32 in native byte order, including special tokens. tokens: the number of ids.
    first_segment_tokens: the number of tokens of `[CLS] A [SEP]`, which have token type 0.
    truncated: whether a behaviour was left out or an item text was truncated.
    behaviours: the number of past behaviours in the text, without the one being scored.
    """

    ids: bytes
    tokens: int
    first_segment_tokens: int
    truncated: bool
    behaviours: int

    def input_ids(self) -> NDArray[np.int32]:
        """Return the ids as an array, int32 (tokens,)."""
        return np.frombuffer(self.ids, dtype=np.int32)

    def __repr__(self) -> str:
        return f"EncodedText({self.tokens} tokens, {self.behaviours} behaviours)"


class BehaviourTokenizer:
    """Converts behaviours to Pieces, and Pieces to the ids of a text. Thread-safe.

    tokenizer: a fast WordPiece tokenizer; a copy is used, without padding and truncation.
    cached_pieces: capacity of the LRU cache of Pieces; it keeps fewer if they take more than 1 KB on average.
    sha256: hash of the tokenizer.json that the tokenizer was read from; None if unknown.
    Raises TokenizerIncompatible if the ids of a Piece depend on its neighbours, as in byte-level BPE.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        settings: TextSettings,
        *,
        cached_pieces: int = 100_000,
        sha256: str | None = None,
    ) -> None:
        self.settings = settings
        self._sha256 = sha256
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        # "[SEP]" within a text is tokenised as text.
        self._tokenizer.encode_special_tokens = True
        self._separator = _encode(self._tokenizer, SEPARATOR)
        self._template = _Template.of(self._tokenizer)
        self._room = settings.max_tokens - self._template.specials
        self._cached_pieces = cached_pieces
        # In order of use, most recent last.
        self._pieces: dict[Hashable, Piece] = {}
        self._pieces_bytes = 0
        self._lock = threading.Lock()
        _check_limits(settings, self._template.specials)
        self._check_context_free()

    @classmethod
    def from_folder(cls, folder: Path, settings: TextSettings, *, cached_pieces: int = 100_000) -> Self:
        """Read `tokenizer.json` of a Hugging Face checkpoint. Raises TokenizerIncompatible if it is unreadable."""
        path = folder / TOKENIZER_FILE
        if not path.is_file():
            raise TokenizerIncompatible(
                f"no {TOKENIZER_FILE} in {folder}: only fast tokenizers are supported"
            )
        try:
            tokenizer = Tokenizer.from_file(str(path))
        # The library raises a plain Exception.
        except Exception as exc:
            raise TokenizerIncompatible(f"{path} is not a readable tokenizer: {exc}") from exc
        return cls(tokenizer, settings, cached_pieces=cached_pieces, sha256=sha256_of(path))

    def matches(self, folder: Path, settings: TextSettings) -> bool:
        """Return whether a checkpoint has the same tokenizer file and text settings as this tokenizer."""
        path = folder / TOKENIZER_FILE
        return settings == self.settings and path.is_file() and sha256_of(path) == self._sha256

    @property
    def vocabulary_size(self) -> int:
        """The number of ids, including added tokens."""
        return self._tokenizer.get_vocab_size()

    def piece(self, behaviour: BehaviourFields) -> Piece:
        """Return a past behaviour's Piece, including its outcome if known."""
        return self.pieces((behaviour,))[0]

    def pieces(self, behaviours: Sequence[BehaviourFields]) -> list[Piece]:
        """Return the Pieces of past behaviours in order; uncached ones are tokenised in one batch."""
        keys = [
            (b.action, b.item_text, value_words(b.action, b.value), outcome_words(b.action, b.y, b.z))
            for b in behaviours
        ]
        return self._cached(keys, lambda index: render(behaviours[index], self.settings))

    def target(self, behaviour: BehaviourFields) -> Piece:
        """Return the Piece of a behaviour to be scored, without its outcome."""
        return self.targets((behaviour,))[0]

    def targets(self, behaviours: Sequence[BehaviourFields]) -> list[Piece]:
        """Return the Pieces of behaviours to be scored in order; uncached ones are tokenised in one batch."""
        keys = [(b.action, b.item_text, value_words(b.action, b.value), "") for b in behaviours]
        return self._cached(keys, lambda index: render(behaviours[index], self.settings, with_outcome=False))

    def words(self, texts: Sequence[str]) -> list[Piece]:
        """Return the Pieces of rendered texts (rates, stored examples) in order."""
        return self._cached(texts, lambda index: Rendered(texts[index], len(texts[index]), cut=False))

    def rates(self, habits: Habits = NO_HABITS, item: ItemCounts = NO_OUTCOMES) -> tuple[Piece, ...]:
        """Return the Pieces of the rates at the start of a text: the user's, then the item's; unknown ones are omitted.

        habits: counts of the window's behaviours before the one being scored. item: the item's outcomes of all users.
        Rates that the model does not read (settings.habits, settings.item_rates) are omitted too.
        """
        texts = []
        if habits.known and self.settings.habits:
            texts.append(habit_words(habits))
        if item.known and self.settings.item_rates:
            texts.append(item_rate_words(item))
        return tuple(self.words(texts)) if texts else ()

    def encode(self, history: Sequence[Piece], target: Piece, rates: Sequence[Piece] = ()) -> EncodedText:
        """Return the text of the rates, the newest whole behaviours that fit, and the behaviour being scored.

        history: oldest first. rates: placed before the behaviours and never omitted.
        Takes about 2 µs, because it reads the history from the newest behaviour only until max_tokens is reached.
        """
        kept, cut = self._keep(history, target, rates)
        behaviours = len(kept)
        kept.extend(piece.ids for piece in reversed(rates))
        kept.reverse()
        template = self._template
        ids = b"".join(
            (template.prefix, self._separator.ids.join(kept), template.middle, target.ids, template.suffix)
        )
        tokens = len(ids) // ID_BYTES
        first = tokens - target.tokens - template.suffix_tokens
        return EncodedText(ids, tokens, first, cut or behaviours < len(history), behaviours)

    def behaviour_text(
        self, history: Sequence[Piece], target: Piece, rates: Sequence[Piece] = ()
    ) -> tuple[str, str]:
        """Return the two segments of encode() as text."""
        behaviours = len(self._keep(history, target, rates)[0])
        return history_text(history[len(history) - behaviours :], rates), target.text

    def encode_texts(self, texts: Sequence[tuple[str, str]]) -> list[EncodedText]:
        """Encode stored pairs (history, target) from behaviour_text(), for training.

        With the same settings the result equals the scored text. A smaller max_tokens omits the oldest behaviours.
        """
        parts = [self._stored(history) for history, _ in texts]
        pieces = iter(self.words([part for both in parts for some in both for part in some]))
        targets = self.words([target for _, target in texts])
        encoded = []
        for (rates, behaviours), target in zip(parts, targets, strict=True):
            rate_pieces = [next(pieces) for _ in rates]
            encoded.append(self.encode([next(pieces) for _ in behaviours], target, rate_pieces))
        return encoded

    def _stored(self, history: str) -> tuple[list[str], list[str]]:
        """Split a stored history into the rates that this model reads and the behaviours."""
        rates, behaviours = split_history(history)
        settings = self.settings
        read = ((HABITS_START, settings.habits), (ITEM_START, settings.item_rates))
        wanted = tuple(start for start, is_read in read if is_read)
        return [part for part in split_behaviours(rates) if part.startswith(wanted)], behaviours

    def _keep(
        self, history: Sequence[Piece], target: Piece, rates: Sequence[Piece]
    ) -> tuple[list[bytes], bool]:
        """Return the ids of the newest behaviours that fit, newest first, and whether any Piece is truncated."""
        between = self._separator.tokens
        # The first part has no separator before it.
        room = self._room - target.tokens + between
        for piece in rates:
            room -= piece.tokens + between
        cut = target.cut
        kept = []
        for piece in reversed(history):
            room -= piece.tokens + between
            if room < 0:
                break
            kept.append(piece.ids)
            cut = cut or piece.cut
        return kept, cut

    def _cached(self, keys: Sequence[Hashable], rendered: Callable[[int], Rendered]) -> list[Piece]:
        """Return the Piece of each key; rendered(index) returns the text to tokenise for an uncached key."""
        pieces = self._pieces
        found: list[Piece | None] = []
        with self._lock:
            for key in keys:
                piece = pieces.pop(key, None)
                if piece is not None:
                    # Moved to the end; the first entry is the least recently used.
                    pieces[key] = piece
                found.append(piece)
        missing = {key: index for index, key in enumerate(keys) if found[index] is None}
        if missing:
            made = dict(zip(missing, self._tokenise([rendered(i) for i in missing.values()]), strict=True))
            self._remember(made)
            found = [made[key] if piece is None else piece for key, piece in zip(keys, found, strict=True)]
        return cast("list[Piece]", found)

    def _remember(self, made: dict[Hashable, Piece]) -> None:
        with self._lock:
            pieces, max_bytes = self._pieces, self._cached_pieces * _MAX_BYTES_PER_PIECE
            for key, piece in made.items():
                # Another thread may have been faster.
                if key not in pieces:
                    pieces[key] = piece
                    self._pieces_bytes += _piece_bytes(key, piece)
            while len(pieces) > self._cached_pieces or self._pieces_bytes > max_bytes:
                oldest = next(iter(pieces))
                self._pieces_bytes -= _piece_bytes(oldest, pieces.pop(oldest))

    def _tokenise(self, rendered: Sequence[Rendered]) -> list[Piece]:
        """Tokenise texts in one batch; texts over the limit are shortened and tokenised again."""
        limit = self.settings.max_behaviour_tokens
        encodings = self._tokenizer.encode_batch([r.text for r in rendered], add_special_tokens=False)
        pieces = [
            Piece(r.text, _to_bytes(e.ids), len(e.ids), r.cut)
            for r, e in zip(rendered, encodings, strict=True)
        ]
        for index, piece in enumerate(pieces):
            if piece.tokens > limit:
                text = _shorten(rendered[index], encodings[index], limit)
                pieces[index] = replace(_encode(self._tokenizer, text), cut=True)
        return pieces

    def _check_context_free(self) -> None:
        """Check that a text concatenated from Pieces has the same ids as the text tokenised as a whole."""
        first, second, target = self.words(("view a red-hot lamp 2001 liked", "buy Two; price 20", "view x"))
        whole = self._tokenizer.encode(f"{first.text} {SEPARATOR} {second.text}", target.text).ids
        template = self._template
        ids = self._separator.ids.join((first.ids, second.ids))
        if _to_bytes(whole) != template.prefix + ids + template.middle + target.ids + template.suffix:
            raise TokenizerIncompatible(
                "the tokenizer's ids of a text depend on its neighbours; use a checkpoint with a WordPiece "
                "tokenizer (BERT, DistilBERT, MiniLM, ELECTRA, MPNet)"
            )


def history_text(kept: Iterable[Piece], rates: Sequence[Piece] = ()) -> str:
    """Return segment A as text: the rates, then the behaviours kept by encode(), oldest first."""
    return f" {SEPARATOR} ".join([piece.text for piece in (*rates, *kept)])


@dataclass(frozen=True, slots=True)
class _Template:
    """The special tokens of a pair: `prefix A middle B suffix`."""

    prefix: bytes
    middle: bytes
    suffix: bytes
    suffix_tokens: int

    @property
    def specials(self) -> int:
        return (len(self.prefix) + len(self.middle) + len(self.suffix)) // ID_BYTES

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """Derive the template from an encoded pair, so that any post-processor is supported."""
        pair = tokenizer.encode("a", "b")
        first = [i for i, part in enumerate(pair.sequence_ids) if part == 0]
        second = [i for i, part in enumerate(pair.sequence_ids) if part == 1]
        return cls(
            prefix=_to_bytes(pair.ids[: first[0]]),
            middle=_to_bytes(pair.ids[first[-1] + 1 : second[0]]),
            suffix=_to_bytes(pair.ids[second[-1] + 1 :]),
            suffix_tokens=len(pair.ids) - second[-1] - 1,
        )


def _check_limits(settings: TextSettings, specials: int) -> None:
    """Raise ValueError for limits with which a text could exceed max_tokens or a behaviour lose its outcome."""
    if settings.max_behaviour_tokens < 16:
        raise ValueError(f"max_behaviour_tokens={settings.max_behaviour_tokens} must be at least 16")
    rates = max(settings.max_behaviour_tokens, _RATES_TOKENS)
    needed = settings.max_behaviour_tokens + rates + specials + 1
    if settings.max_tokens < needed:
        raise ValueError(
            f"max_tokens={settings.max_tokens} must be at least {needed}: the rates ({rates} tokens), the scored "
            f"behaviour (max_behaviour_tokens={settings.max_behaviour_tokens}) and {specials} special tokens must fit"
        )


def _shorten(rendered: Rendered, encoding: Encoding, limit: int) -> str:
    """Remove whole words from the end of the item text until the behaviour has at most limit tokens."""
    head = sum(start < rendered.item_end for start, _ in encoding.offsets)
    tail = len(encoding.ids) - head
    keep = limit - tail
    words = encoding.word_ids
    while keep > 0 and words[keep] == words[keep - 1]:
        keep -= 1
    end = encoding.offsets[keep - 1][1] if keep > 0 else 0
    return f"{rendered.text[:end]} {rendered.text[rendered.item_end :].strip()}".strip()


def _piece_bytes(key: Hashable, piece: Piece) -> int:
    """Return the approximate size of a cache entry, including the item's full text in the key."""
    item_text = key[1] if isinstance(key, tuple) else key
    return _PIECE_BYTES + len(piece.ids) + getsizeof(piece.text) + getsizeof(item_text)


def _encode(tokenizer: Tokenizer, text: str) -> Piece:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return Piece(text, _to_bytes(ids), len(ids), cut=False)


def _to_bytes(ids: Sequence[int]) -> bytes:
    return np.array(ids, dtype=np.int32).tobytes()
