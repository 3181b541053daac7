"""Progress of a training, and its output as log lines."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

LINE_INTERVAL_S = 30.0


class Stopped(Exception):  # noqa: N818 -- not an error
    """Raised by a progress callback to stop the work. A call with the same arguments resumes it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A progress report of a training.

    stage: the current stage, such as `heads` or `texts: fine-tuning`; `found` if the result existed already.
    done, total: of the stage, in texts or steps; done is 0 at its start. total is 0 if the stage has no count.
    loss: the latest loss of fine-tuning.
    """

    stage: str
    done: int
    total: int
    loss: float | None = None

    @property
    def is_done(self) -> bool:
        """Whether the stage is complete."""
        return 0 < self.total <= self.done


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Ignore the report."""


class ProgressLines:
    """Writes a training's progress as lines, for logs and files.

    It writes a line when a stage starts, when it ends, and every interval_s in between. Call it with each Progress.
    Call tick() about once a second, from any thread, so that lines also appear during a long step.
    write: called with each line. now_s: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        now_s: Callable[[], float] = time.monotonic,
        interval_s: float = LINE_INTERVAL_S,
    ) -> None:
        self._write = write
        self._now_s = now_s
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._first: Progress | None = None  # of the stage
        self._latest: Progress | None = None
        self._began_s = self._written_s = 0.0

    def __call__(self, progress: Progress) -> None:
        """Process a report."""
        with self._lock:
            now_s, latest = self._now_s(), self._latest
            begins = latest is None or progress.stage != latest.stage or progress.done < latest.done
            self._latest = progress
            if begins:
                self._first, self._began_s = progress, now_s
            if progress.is_done and (begins or (latest is not None and not latest.is_done)):
                self._write_line(f"{_counted(progress)}, took {_time(now_s - self._began_s)}", now_s)
                self._began_s = now_s  # the start of the next stage
            elif begins:
                self._write_line(_counted(progress), now_s)
            else:
                self._write_if_due(now_s)

    def tick(self) -> None:
        """Write a line if none was written for an interval."""
        with self._lock:
            if self._latest is not None:
                self._write_if_due(self._now_s())

    def _write_if_due(self, now_s: float) -> None:
        first, latest = self._first, self._latest
        if first is None or latest is None or now_s - self._written_s < self._interval_s:
            return
        took_s = now_s - self._began_s
        so_far = f"{_time(took_s)} so far"
        if latest.is_done:
            self._write_line(f"after {latest.stage}: in progress, {so_far}", now_s)
            return
        steps = latest.done - first.done
        to_go = f", {_time(took_s / steps * (latest.total - latest.done))} to go" if steps else ""
        self._write_line(f"{_counted(latest)}{', ' if latest.total else ': '}{so_far}{to_go}", now_s)

    def _write_line(self, line: str, now_s: float) -> None:
        self._written_s = now_s
        self._write(line)


def _counted(progress: Progress) -> str:
    if not progress.total:
        return progress.stage
    loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
    return f"{progress.stage}: {progress.done:,} of {progress.total:,}{loss}"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
