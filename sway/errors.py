"""The root of everything that the `sway` package raises on purpose.

SwayError
├── EmbeddedError   the embedded stack: sway.embedded.errors
└── CommandError    a command cannot do what it was asked to
"""


class SwayError(Exception):
    """Root of the tree; the command line shows its message alone, without a traceback."""


class CommandError(SwayError):
    """A command cannot do what it was asked to; the message says what to do instead."""
