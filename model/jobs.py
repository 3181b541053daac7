"""What a model scores: a text that holds everything, or a behaviour beside what is known at its time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from model.features.snapshot import Snapshot
from model.tokens import Piece

LATE_TOKENS = 8
"""What a row of a late model costs, in the tokens by which batches are packed; 256 rows are 2,048."""


class Job(Protocol):
    """What is scored; EncodedText is one, LateText another.

    tokens: what it costs. behaviours: past ones that it was given. truncated: whether something was left out of it.
    """

    @property
    def tokens(self) -> int: ...
    @property
    def behaviours(self) -> int: ...
    @property
    def truncated(self) -> bool: ...


@dataclass(slots=True, eq=False)
class LateText:
    """What a late model scores in place of an EncodedText; treat it as a value.

    piece: of the behaviour being scored, without its outcome. pieces: gives those of snapshot.past, in its order and
    without outcomes; called on the forward thread, and only where a text's vector is not at hand.
    """

    snapshot: Snapshot
    piece: Piece
    pieces: Callable[[], Sequence[Piece]]
    truncated: bool

    @property
    def behaviours(self) -> int:
        """Past behaviours."""
        return len(self.snapshot.past)

    @property
    def tokens(self) -> int:
        """LATE_TOKENS: a constant, so that a limit of tokens is one of rows."""
        return LATE_TOKENS

    def __repr__(self) -> str:
        return f"LateText({self.behaviours} behaviours)"
