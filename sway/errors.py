"""The root of the error tree of the `sway` package.

SwayError
├── EmbeddedError   the embedded stack: sway.embedded.errors
└── CommandError    a command cannot be carried out
"""


class SwayError(Exception):
    """Root of the error tree; the command line prints its message without a traceback."""


class CommandError(SwayError):
    """A command cannot be carried out; the message says what to do."""
