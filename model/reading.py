"""The readings: how a model reads a user's history."""

from enum import StrEnum


class Reading(StrEnum):
    """How a model reads a user's history.

    JOINT: history and event are encoded together as one text. LATE: each behaviour's text is encoded separately, and
    the vectors are combined afterwards.
    """

    JOINT = "joint"
    LATE = "late"
