"""Running sums of a partition, an item and a user. Values: what learns returns a new one.

A grade is z where an outcome has it, else y; in [0, 1]. A residual is a grade less what the partition's mean and the
item's bias made of it when the outcome became known.

What a value holds is what its bytes hold, bit for bit: state that was read from disk gives the numbers that memory
gave. Sums are float64; single grades are float32.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple, Self

RECENT = 10
_ITEM = struct.Struct("<IddddqB")
_GRADE = struct.Struct("<f")
_USER = struct.Struct("<IIdddddqq")
_MEAN = struct.Struct("<Qd")
_SLOW = 0.98
_PRIOR_MEAN = 0.5
_MAX_COUNT = 2**32 - 1

ITEM_MAX_BYTES = _ITEM.size + RECENT * _GRADE.size
USER_BYTES = _USER.size
MEAN_BYTES = _MEAN.size


class Mean(NamedTuple):
    """A partition's outcomes: how many, and the sum of their grades."""

    outcomes: int = 0
    z_sum: float = 0.0

    @property
    def value(self) -> float:
        """mu: the mean grade, drawn to .5 by one outcome."""
        return (self.z_sum + _PRIOR_MEAN) / (self.outcomes + 1)

    def and_one(self, z: float) -> Self:
        """Return the mean with one more outcome of grade z."""
        return self._replace(outcomes=self.outcomes + 1, z_sum=self.z_sum + z)

    def encode(self) -> bytes:
        """Return MEAN_BYTES bytes."""
        return _MEAN.pack(*self)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read what encode() wrote. Raises struct.error if it has another length."""
        return cls(*_MEAN.unpack(raw))


class ItemState(NamedTuple):
    """An item's outcomes in one partition.

    above_mean: sum of (grade - mu), above_user: sum of (grade - the user's mean in the window), each as of its outcome.
    recent: the last ten grades, oldest first. last_at_ms: event time of the newest; 0 without one.
    """

    outcomes: int = 0
    y_sum: float = 0.0
    z_sum: float = 0.0
    above_mean: float = 0.0
    above_user: float = 0.0
    last_at_ms: int = 0
    recent: tuple[float, ...] = ()

    def and_one(self, y: float, z: float, mu: float, user_mean: float, at_ms: int) -> Self:
        """Return the state with one more outcome."""
        return type(self)(
            min(self.outcomes + 1, _MAX_COUNT),
            self.y_sum + y,
            self.z_sum + z,
            self.above_mean + (z - mu),
            self.above_user + (z - user_mean),
            max(self.last_at_ms, at_ms),
            (*self.recent[-RECENT + 1 :], as_float32(z)),
        )

    def encode(self) -> bytes:
        """Return at most ITEM_MAX_BYTES bytes."""
        head = _ITEM.pack(*self[:6], len(self.recent))
        return head + struct.pack(f"<{len(self.recent)}f", *self.recent)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read what encode() wrote. Raises struct.error if it has another length."""
        outcomes, y_sum, z_sum, above_mean, above_user, last_at_ms, grades = _ITEM.unpack_from(raw)
        recent = struct.unpack(f"<{grades}f", raw[_ITEM.size :])
        return cls(outcomes, y_sum, z_sum, above_mean, above_user, last_at_ms, recent)


class UserTotals(NamedTuple):
    """All outcomes of a user so far, beyond the window.

    behaviours: how many were scored. slow: residuals decayed by .98 an outcome, an average that begins at 0.
    first_at_ms, last_at_ms: event times of the oldest and newest behaviour; 0 without one.
    """

    behaviours: int = 0
    outcomes: int = 0
    y_sum: float = 0.0
    z_sum: float = 0.0
    residual_sum: float = 0.0
    residual_squares: float = 0.0
    slow: float = 0.0
    first_at_ms: int = 0
    last_at_ms: int = 0

    def seen(self, at_ms: int) -> Self:
        """Return the totals with one more behaviour, whose outcome is not known yet."""
        return self._replace(
            behaviours=min(self.behaviours + 1, _MAX_COUNT),
            first_at_ms=min(self.first_at_ms, at_ms) if self.behaviours else at_ms,
            last_at_ms=max(self.last_at_ms, at_ms) if self.behaviours else at_ms,
        )

    def and_one(self, y: float, z: float, residual: float) -> Self:
        """Return the totals with one more outcome."""
        return self._replace(
            outcomes=min(self.outcomes + 1, _MAX_COUNT),
            y_sum=self.y_sum + y,
            z_sum=self.z_sum + z,
            residual_sum=self.residual_sum + residual,
            residual_squares=self.residual_squares + residual * residual,
            slow=_SLOW * self.slow + (1 - _SLOW) * residual,
        )

    def without_one(self, y: float, z: float, residual: float, newer: Sequence[float]) -> Self:
        """Return the totals as if an outcome had never become known.

        newer: residuals of the outcomes that became known after it, in their order. The residuals of others stay,
        although theirs were taken from means that this outcome is part of.
        """
        known = self.outcomes - 1
        if known <= 0:
            return self._replace(
                outcomes=0, y_sum=0.0, z_sum=0.0, residual_sum=0.0, residual_squares=0.0, slow=0.0
            )
        later = 0.0
        for each in newer:
            later = _SLOW * later + (1 - _SLOW) * each
        own = _SLOW ** len(newer) * (1 - _SLOW) * residual
        return self._replace(
            outcomes=known,
            y_sum=self.y_sum - y,
            z_sum=self.z_sum - z,
            residual_sum=self.residual_sum - residual,
            residual_squares=max(self.residual_squares - residual * residual, 0.0),
            slow=later + (self.slow - later - own) / _SLOW,
        )

    def encode(self) -> bytes:
        """Return USER_BYTES bytes."""
        return _USER.pack(*self)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read what encode() wrote. Raises struct.error if it has another length."""
        return cls(*_USER.unpack(raw))


NO_MEAN = Mean()
NO_ITEM = ItemState()
NO_TOTALS = UserTotals()


def as_float32(value: float) -> float:
    """Return the float32 nearest to a value, as a Python float: what its four bytes will give back."""
    return float(_GRADE.unpack(_GRADE.pack(value))[0])
