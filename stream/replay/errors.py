"""Exceptions of a replay.

ReplayError (a StreamError)
├── RangeError             the requested range is not in the topic
│   └── PastRetentionError     retention has deleted a part of it
├── NoAnswerError          the brokers do not answer in time; a retry may succeed
├── PlanError              the replay of this id has another plan or other inputs
└── OutputError            the output is not one that this replay may write
"""

from stream.errors import StreamError


class ReplayError(StreamError):
    """Base class of all exceptions of stream.replay."""


class RangeError(ReplayError):
    """The range is empty, reversed or past the end."""


class PastRetentionError(RangeError):
    """The message names the oldest offset that is left."""


class NoAnswerError(ReplayError):
    """No broker answered in time."""


class PlanError(ReplayError):
    """The request differs from the plan under the same id."""


class OutputError(ReplayError):
    """The topic or folder holds other data, or files are missing."""
