"""Holds a loop to a rate."""

import re
import time
from collections.abc import Callable

from sway.errors import CommandError

_FINEST_S = 0.005  # a sleep takes about that long however short it was meant


def parse_rate(text: str) -> float:
    """Return records a second from a text like 500 or 500/s. Raises CommandError if it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/s)?", text.strip())
    rate = float(match[1]) if match else 0.0
    if rate <= 0:
        raise CommandError(
            f"the rate is {text!r}; a number of records a second above 0 is allowed, like 500/s"
        )
    return rate


class Pace:
    """Lets one record pass at a time, at a rate that holds on average: what was late catches up.

    per_s: records a second, None lets all pass. now and sleep are a clock's, in seconds.
    """

    def __init__(
        self,
        per_s: float | None,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._per_s = per_s
        self._now = now
        self._sleep = sleep
        self._start = now()
        self._passed = 0

    def wait(self) -> None:
        """Return when the next record may pass."""
        if self._per_s is None:
            return
        ahead_s = self._start + self._passed / self._per_s - self._now()
        self._passed += 1
        if ahead_s >= _FINEST_S:
            self._sleep(ahead_s)
