"""Running sums of a partition, an item and a user. Immutable: an update returns a new object.

A grade is z if the outcome has it, else y; it is in [0, 1]. A residual is a grade minus its prediction from the
partition's mean and the item's bias at the time when the outcome became known.

Encoding is lossless, so state read from disk gives bit-identical features. Sums are float64; single grades are
float32.
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
    """The number of a partition's outcomes and the sum of their grades."""

    outcomes: int = 0
    z_sum: float = 0.0

    @property
    def value(self) -> float:
        """mu: the mean grade, shrunk towards .5 with the weight of one outcome."""
        return (self.z_sum + _PRIOR_MEAN) / (self.outcomes + 1)

    def with_outcome(self, z: float) -> Self:
        """Return the mean with one more outcome of grade z."""
        return self._replace(outcomes=self.outcomes + 1, z_sum=self.z_sum + z)

    def encode(self) -> bytes:
        """Return the encoding, MEAN_BYTES bytes."""
        return _MEAN.pack(*self)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Decode the result of encode(). Raises struct.error if the length is wrong."""
        return cls(*_MEAN.unpack(raw))


class ItemState(NamedTuple):
    """An item's outcomes in one partition.

    above_mean: sum of (grade - mu). above_user: sum of (grade - the user's mean in the window). Both means are taken
    when the outcome becomes known. recent: the last ten grades, oldest first. last_at_ms: event time of the newest
    behaviour with an outcome; 0 without one.
    """

    outcomes: int = 0
    y_sum: float = 0.0
    z_sum: float = 0.0
    above_mean: float = 0.0
    above_user: float = 0.0
    last_at_ms: int = 0
    recent: tuple[float, ...] = ()

    def with_outcome(self, y: float, z: float, mu: float, user_mean: float, at_ms: int) -> Self:
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
        """Return the encoding, at most ITEM_MAX_BYTES bytes."""
        head = _ITEM.pack(*self[:6], len(self.recent))
        return head + struct.pack(f"<{len(self.recent)}f", *self.recent)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Decode the result of encode(). Raises struct.error if the length is wrong."""
        outcomes, y_sum, z_sum, above_mean, above_user, last_at_ms, grades = _ITEM.unpack_from(raw)
        recent = struct.unpack(f"<{grades}f", raw[_ITEM.size :])
        return cls(outcomes, y_sum, z_sum, above_mean, above_user, last_at_ms, recent)


class UserTotals(NamedTuple):
    """All outcomes of a user so far, including those that have left the window.

    behaviours: the number of scored behaviours. slow: an exponential moving average of the residuals that starts at 0
    and keeps .98 per outcome. first_at_ms, last_at_ms: event times of the oldest and newest behaviour; 0 without one.
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

    def with_behaviour(self, at_ms: int) -> Self:
        """Return the totals with one more behaviour, whose outcome is still unknown."""
        return self._replace(
            behaviours=min(self.behaviours + 1, _MAX_COUNT),
            first_at_ms=min(self.first_at_ms, at_ms) if self.behaviours else at_ms,
            last_at_ms=max(self.last_at_ms, at_ms) if self.behaviours else at_ms,
        )

    def with_outcome(self, y: float, z: float, residual: float) -> Self:
        """Return the totals with one more outcome."""
        return self._replace(
            outcomes=min(self.outcomes + 1, _MAX_COUNT),
            y_sum=self.y_sum + y,
            z_sum=self.z_sum + z,
            residual_sum=self.residual_sum + residual,
            residual_squares=self.residual_squares + residual * residual,
            slow=_SLOW * self.slow + (1 - _SLOW) * residual,
        )

    def without_outcome(self, y: float, z: float, residual: float, newer: Sequence[float]) -> Self:
        """Return the totals without one of the outcomes.

        newer: residuals of the outcomes that became known after it, in order. They are not recomputed, although the
        means behind them include the removed outcome.
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
        """Return the encoding, USER_BYTES bytes."""
        return _USER.pack(*self)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Decode the result of encode(). Raises struct.error if the length is wrong."""
        return cls(*_USER.unpack(raw))


NO_MEAN = Mean()
NO_ITEM = ItemState()
NO_TOTALS = UserTotals()


def as_float32(value: float) -> float:
    """Return a value rounded to float32, as a Python float: the value that its encoding decodes to."""
    return float(_GRADE.unpack(_GRADE.pack(value))[0])
