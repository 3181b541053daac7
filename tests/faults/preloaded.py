"""Modules that the fork server of worker processes imports once; they start no thread."""

import stream.replay.session
import stream.worker.run
import sway.cli
import sway.commands.replay
import sway.commands.worker
import sway.replaying.processes
from tests.faults import inside

__all__ = ["inside", "stream", "sway"]
