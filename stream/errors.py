"""What ends or refuses a worker, apart from delivery itself (stream.exactly_once.units.errors).

StreamError
├── ConfigurationError    a setting, or the combination of two, cannot work
├── StuckError            there is work and no progress: the process ends rather than hang
└── EndedError            the process ended, and neither a signal nor a failure says why
"""


class StreamError(Exception):
    """Root of everything that stream raises itself."""


class ConfigurationError(StreamError):
    """The message names the setting, what came and what is allowed."""


class StuckError(StreamError):
    """Lag without progress for `time.stuck_after_s`."""


class EndedError(StreamError):
    """The worker stopped by itself."""
