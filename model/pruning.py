"""Selection of the versions that may be removed from a registry.

`reasons_to_keep` lists the versions that may still be needed. Promotions and rejections are never removed: a trainer
finds finished requests by them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from model.promotions import Promotion, in_force

CHAMPION = "champion"
ROLLBACK = "rollback target"
PARENT = "parent of the champion"
PINNED = "pinned"
RECENT = "recent"
NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class VersionAge:
    """The creation time and the parent of a complete version."""

    version: str
    created_at_ms: int
    parent: str | None


def reasons_to_keep(
    versions: Sequence[VersionAge],
    promotions: Sequence[tuple[int, Promotion]],
    pinned: Collection[str],
    *,
    keep: int,
    in_use_since_ms: int,
) -> dict[str, str]:
    """Return the versions to keep, each with one reason.

    promotions: all promotions with their numbers, ascending. keep: the number of newest versions to keep.
    in_use_since_ms: versions created, promoted or champion since then are kept, because a worker may be fetching them
    or a trainer may be using them.
    """
    stack = [version for _, version in in_force(promotions)]
    newest_first = sorted(versions, key=lambda one: (one.created_at_ms, one.version), reverse=True)
    parents = {one.version: one.parent for one in versions}
    reasons: dict[str, str] = {}
    for version in _recent(versions, promotions, in_use_since_ms):
        reasons[version] = RECENT
    for one in newest_first[:keep]:
        reasons[one.version] = NEWEST
    for version in pinned:
        reasons[version] = PINNED
    if stack:
        reasons.setdefault(parents.get(stack[-1]) or "", PARENT)
        for version in stack[-2:-1]:
            reasons[version] = ROLLBACK
    if promotions:
        reasons[promotions[-1][1].version] = CHAMPION
    return {version: reason for version, reason in reasons.items() if version in parents}


def removable(versions: Sequence[VersionAge], kept: Mapping[str, str]) -> list[str]:
    """Return the versions that may be removed, oldest first."""
    oldest_first = sorted(versions, key=lambda one: (one.created_at_ms, one.version))
    return [one.version for one in oldest_first if one.version not in kept]


def _recent(
    versions: Sequence[VersionAge], promotions: Sequence[tuple[int, Promotion]], since_ms: int
) -> set[str]:
    created = {one.version for one in versions if one.created_at_ms >= since_ms}
    ends_ms = [promotion.promoted_at_ms for _, promotion in promotions[1:]]  # of all except the last
    champions = zip(promotions, ends_ms, strict=False)
    return created | {promotion.version for (_, promotion), end_ms in champions if end_ms >= since_ms}
