"""Imported once by the server that worker processes are forked from; it starts no thread."""

import stream.run
import sway.cli
import sway.commands.worker
from tests.faults import inside

__all__ = ["inside", "stream", "sway"]
