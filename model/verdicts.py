"""What became of a version: waiting, champion, promoted before, or rejected and why."""

import json
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

CHAMPION_PROMOTION = "champion_promotion"
"""A rejection's metric: the number of the promotion that named the champion it was compared with."""

Status: TypeAlias = Literal["published", "champion", "promoted before", "rejected"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a version is not to be promoted; metrics: the gate's figures by name."""

    version: str
    rejected_at_ms: int
    reason: str
    metrics: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the file's content."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: bytes) -> "Rejection":
        """Parse it; raises ValueError or TypeError if it is no rejection."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a version stands.

    reason, at_ms, metrics: of the rejection, or else of the newest promotion that names it; empty for one that is
    only published. promotions: the numbers of all promotions that name it, rollbacks to it among them.
    """

    version: str
    status: Status
    reason: str = ""
    at_ms: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    promotions: tuple[int, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Whether a verdict was given: promoted at some time, or rejected."""
        return self.status != "published"


@dataclass(frozen=True, slots=True)
class Challenged:
    """How often a champion was challenged.

    promotion: the newest that names it. rejected: how many challengers were compared with it and rejected.
    """

    promotion: int
    rejected: int
