"""How a model reads a user's history."""

from enum import StrEnum


class Reading(StrEnum):
    """JOINT: one text of history and event, read whole. LATE: each behaviour's text by itself, put together after."""

    JOINT = "joint"
    LATE = "late"
