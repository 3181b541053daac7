"""Promotions: numbered files; the highest number names the champion.

A rollback is a promotion too, with the number of the promotion that it returns to. The history is therefore a stack: a
promotion is pushed, and a rollback pops everything above its target. Two successive rollbacks go back two champions,
and a later rollback never returns to a version that was rolled back.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from model.manifest import check_version


@dataclass(frozen=True, slots=True)
class Promotion:
    """One promotion: from its number on, version is the champion.

    back_to: the number of the promotion that a rollback returns to, else None. id: distinguishes two promotions with
    the same timestamp.
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
        """Parse the file's content. Raises ValueError or TypeError if it is not a promotion."""
        return cls(**json.loads(text))


def in_force(promotions: Sequence[tuple[int, Promotion]]) -> list[tuple[int, str]]:
    """Return number and version of the promotions that were not rolled back; the last is the champion's.

    promotions: all promotions with their numbers, ascending. A promotion of the current champion is omitted, because
    returning to it would change nothing.
    """
    stack: list[tuple[int, str]] = []
    for number, promotion in promotions:
        if promotion.back_to is not None:
            while stack and stack[-1][0] > promotion.back_to:
                stack.pop()
        if not stack or stack[-1][1] != promotion.version:
            stack.append((number, promotion.version))
    return stack
