"""Scoring jobs: an encoded text for a joint model, a feature snapshot for a late model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from model.features.snapshot import Snapshot
from model.tokens import Piece

LATE_TOKENS = 8
"""The cost of a late model's row in tokens, the unit of batch packing; 256 rows cost 2,048 tokens."""


class Job(Protocol):
    """A unit of scoring work: EncodedText or LateText.

    tokens: its cost. behaviours: the number of past behaviours. truncated: whether input was left out.
    """

    @property
    def tokens(self) -> int: ...
    @property
    def behaviours(self) -> int: ...
    @property
    def truncated(self) -> bool: ...


@dataclass(slots=True, eq=False)
class LateText:
    """The job of a late model. Treat it as immutable.

    piece: the behaviour being scored, without its outcome.
    pieces: returns the Pieces of snapshot.past, in its order and without outcomes. It is called on the forward thread,
    and only if a text's vector is not cached.
    """

    snapshot: Snapshot
    piece: Piece
    pieces: Callable[[], Sequence[Piece]]
    truncated: bool

    @property
    def behaviours(self) -> int:
        """The number of past behaviours."""
        return len(self.snapshot.past)

    @property
    def tokens(self) -> int:
        """LATE_TOKENS. The cost is constant, so a limit of tokens is a limit of rows."""
        return LATE_TOKENS

    def __repr__(self) -> str:
        return f"LateText({self.behaviours} behaviours)"
