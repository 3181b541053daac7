"""Exit status of the process: 0 only after a signal."""

import logging
import signal
from typing import Any, NoReturn

import faust.worker

logger = logging.getLogger(__name__)

_FAILURE = 1


class EndingWorker(faust.worker.Worker):  # type: ignore[misc]
    """Faust's worker with an exit status that tells a service manager whether to restart it.

    Faust also exits with 0 when its app stops by itself. `sway worker` and `faust worker` both use this class.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asked_to_end = False

    @property
    def ended_by_signal(self) -> bool:
        """Whether a signal arrived before any failure, so that ready units were committed."""
        return self._asked_to_end and getattr(self.app, "failure", None) is None

    def execute_from_commandline(self) -> NoReturn:
        """Run until the end. Raises SystemExit with status 0 after SIGTERM or SIGINT, otherwise nonzero."""
        try:
            super().execute_from_commandline()
        except SystemExit as end:
            if self.ended_by_signal:
                raise SystemExit(0) from end
            if not end.code:
                logger.critical("The worker stopped without a signal")
            raise SystemExit(end.code or _FAILURE) from end
        raise SystemExit(_FAILURE)  # not reached: Faust always raises SystemExit

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        self._asked_to_end = self._asked_to_end or not self.crashed
        super()._schedule_shutdown(signal)
