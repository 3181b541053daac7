"""What can stop a replay.

ReplayError (a StreamError)
├── RangeError             what was asked for is not in the topic
│   └── PastRetentionError     retention has taken it
├── NoAnswerError          the brokers do not say in time what they are asked; asking again may help
├── PlanError              the replay of this id was planned otherwise, or its inputs are not the ones it began with
└── OutputError            the output is not one that this replay may write
"""

from stream.errors import StreamError


class ReplayError(StreamError):
    """Root of what stream.replay raises itself."""


class RangeError(ReplayError):
    """The range is empty, upside down or past the end."""


class PastRetentionError(RangeError):
    """The message names the oldest offset that is left."""


class NoAnswerError(ReplayError):
    """Nobody answered in time."""


class PlanError(ReplayError):
    """What is asked for does not fit what was planned under the same id."""


class OutputError(ReplayError):
    """A topic or folder that holds something else, or files that are missing."""
