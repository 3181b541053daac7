"""Modules that the fork server of worker processes imports once; they start no thread."""

import stream.replay.session
import stream.worker.run
import sway.cli
import sway.replay.command
import sway.replay.processes
import sway.worker
from tests.faults import inside

__all__ = ["inside", "stream", "sway"]
