"""Imported once by the server that worker processes are forked from; it starts no thread."""

import stream.replay.session
import stream.worker.run
import sway.cli
import sway.replay.command
import sway.replay.processes
import sway.worker
from tests.faults import inside

__all__ = ["inside", "stream", "sway"]
