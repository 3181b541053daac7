"""Imported once by the server that worker processes are forked from; it starts no thread."""

import stream.replay.session
import stream.worker.run
import sway.cli
import sway.commands.replay
import sway.commands.worker
import sway.replaying.processes
from tests.faults import inside

__all__ = ["inside", "stream", "sway"]
