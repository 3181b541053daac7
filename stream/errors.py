"""Exceptions that refuse or end a worker, except those of delivery (stream.exactly_once.units.errors).

StreamError
├── ConfigurationError    a setting or a combination of settings is invalid
├── StuckError            there is work but no progress, so the process ends
└── EndedError            the process ended without a signal or a recorded failure
"""


class StreamError(Exception):
    """Base class of all exceptions of stream."""


class ConfigurationError(StreamError):
    """The message names the setting, its value and the allowed values."""


class StuckError(StreamError):
    """There was lag but no progress for `time.stuck_after_s`."""


class EndedError(StreamError):
    """The worker stopped without a signal."""
