"""How the process ends: with status 0 after a signal, and after nothing else."""

import logging
import signal
from typing import Any, NoReturn

import faust.worker

logger = logging.getLogger(__name__)

_FAILURE = 1


class EndingWorker(faust.worker.Worker):  # type: ignore[misc]
    """Faust's worker, whose exit status tells a service manager whether to start it again.

    Faust ends with 0 also when its app stops by itself. `sway worker` and `faust worker` both run this one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asked_to_end = False

    @property
    def ended_by_signal(self) -> bool:
        """Whether a signal came before anything had failed, and what was ready is committed."""
        return self._asked_to_end and getattr(self.app, "failure", None) is None

    def execute_from_commandline(self) -> NoReturn:
        """Run until the end. Raises SystemExit: status 0 after SIGTERM or SIGINT, another one otherwise."""
        try:
            super().execute_from_commandline()
        except SystemExit as end:
            if self.ended_by_signal:
                raise SystemExit(0) from end
            if not end.code:
                logger.critical("The worker has stopped, and no signal asked for that")
            raise SystemExit(end.code or _FAILURE) from end
        raise SystemExit(_FAILURE)  # Faust raises always

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        self._asked_to_end = self._asked_to_end or not self.crashed
        super()._schedule_shutdown(signal)
