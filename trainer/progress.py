"""How far a training has come, as it tells whoever watches."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

LINE_INTERVAL_S = 30.0


class Stopped(Exception):  # noqa: N818 -- nothing is wrong
    """Raised by a progress callback to end the work; called again with the same arguments, it resumes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment of a training.

    stage: what is going on, such as `heads` or `texts: fine-tuning`; `found` when the work was done already.
    done, total: of that stage, in texts or steps; 0 done when it begins. A total of 0 says that nothing is counted.
    loss: of fine-tuning, the newest that is known.
    """

    stage: str
    done: int
    total: int
    loss: float | None = None

    @property
    def is_done(self) -> bool:
        """Whether this is the stage's last step."""
        return 0 < self.total <= self.done


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Nobody watches."""


class ProgressLines:
    """Tells a training's progress in lines, for logs and files.

    A line when a stage begins, one when it ends, and one every interval_s in between. Call it with each Progress, and
    call tick() about once a second, from any thread: so a line also comes while one step takes long.
    say: takes a line. now_s: a clock that only rises.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        now_s: Callable[[], float] = time.monotonic,
        interval_s: float = LINE_INTERVAL_S,
    ) -> None:
        self._say = say
        self._now_s = now_s
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._first: Progress | None = None  # of the stage
        self._latest: Progress | None = None
        self._began_s = self._told_s = 0.0

    def __call__(self, progress: Progress) -> None:
        """Take in a step."""
        with self._lock:
            now_s, latest = self._now_s(), self._latest
            begins = latest is None or progress.stage != latest.stage or progress.done < latest.done
            self._latest = progress
            if begins:
                self._first, self._began_s = progress, now_s
            if progress.is_done and (begins or (latest is not None and not latest.is_done)):
                self._tell(f"{_counted(progress)}, took {_time(now_s - self._began_s)}", now_s)
                self._began_s = now_s  # of what follows
            elif begins:
                self._tell(_counted(progress), now_s)
            else:
                self._tell_if_due(now_s)

    def tick(self) -> None:
        """Say how far it is, if nothing was said for an interval."""
        with self._lock:
            if self._latest is not None:
                self._tell_if_due(self._now_s())

    def _tell_if_due(self, now_s: float) -> None:
        first, latest = self._first, self._latest
        if first is None or latest is None or now_s - self._told_s < self._interval_s:
            return
        took_s = now_s - self._began_s
        so_far = f"{_time(took_s)} so far"
        if latest.is_done:
            self._tell(f"after {latest.stage}: still at work, {so_far}", now_s)
            return
        steps = latest.done - first.done
        to_go = f", {_time(took_s / steps * (latest.total - latest.done))} to go" if steps else ""
        self._tell(f"{_counted(latest)}{', ' if latest.total else ': '}{so_far}{to_go}", now_s)

    def _tell(self, line: str, now_s: float) -> None:
        self._told_s = now_s
        self._say(line)


def _counted(progress: Progress) -> str:
    if not progress.total:
        return progress.stage
    loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
    return f"{progress.stage}: {progress.done:,} of {progress.total:,}{loss}"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
