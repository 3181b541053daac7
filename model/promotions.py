"""Promotions: numbered files, of which the highest names the champion. Pure.

A rollback is a promotion too. It names the one that it goes back to, so that the history is a stack: a promotion
is put on top, a rollback takes off what is above its target. Hence two rollbacks in a row go back two champions,
and a version that was rolled back is never come back to by a later rollback.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from model.manifest import check_version


@dataclass(frozen=True, slots=True)
class Promotion:
    """One numbered file: from here on, this version is the champion.

    back_to: of a rollback, the number of the promotion that it returns to; else None. id: tells two promotions
    of the same moment apart.
    """

    version: str
    promoted_at_ms: int
    reason: str = ""
    back_to: int | None = None
    id: str = ""

    def __post_init__(self) -> None:
        check_version(self.version)

    def to_json(self) -> str:
        """Return the file's content."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: bytes) -> "Promotion":
        """Parse it; raises ValueError or TypeError if it is no promotion."""
        return cls(**json.loads(text))


def in_force(promotions: Sequence[tuple[int, Promotion]]) -> list[tuple[int, str]]:
    """Return number and version of the promotions that no rollback took back, the champion's last.

    promotions: all of them with their numbers, ascending. A promotion of the version that is champion already
    is left out: going back to it would change nothing.
    """
    stack: list[tuple[int, str]] = []
    for number, promotion in promotions:
        if promotion.back_to is not None:
            while stack and stack[-1][0] > promotion.back_to:
                stack.pop()
        if not stack or stack[-1][1] != promotion.version:
            stack.append((number, promotion.version))
    return stack
