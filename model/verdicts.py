"""The status of a version: published, champion, promoted before, or rejected with a reason."""

import json
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

CHAMPION_PROMOTION = "champion_promotion"
"""Metric of a rejection: the number of the promotion of the champion that the version was compared with."""

Status: TypeAlias = Literal["published", "champion", "promoted before", "rejected"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """The reason why a version must not be promoted. metrics: the gate's metrics by name."""

    version: str
    rejected_at_ms: int
    reason: str
    metrics: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the file's content."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: bytes) -> "Rejection":
        """Parse the file's content. Raises ValueError or TypeError if it is not a rejection."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """The status of a version.

    reason, at_ms, metrics: those of the rejection or of the version's newest promotion; empty if it is only published.
    promotions: the numbers of all promotions of the version, including rollbacks to it.
    """

    version: str
    status: Status
    reason: str = ""
    at_ms: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    promotions: tuple[int, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Whether the version was ever promoted or rejected."""
        return self.status != "published"


@dataclass(frozen=True, slots=True)
class ChallengeCount:
    """How often a champion was challenged.

    promotion: the number of its newest promotion. rejected: the number of challengers compared with it so far.
    """

    promotion: int
    rejected: int
