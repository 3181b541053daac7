"""Rate limiting of a loop."""

import re
import time
from collections.abc import Callable

from sway.errors import CommandError

# Shorter sleeps take about this long anyway.
_MIN_SLEEP_S = 0.005


def parse_rate(text: str) -> float:
    """Parse a rate such as 500 or 500/s into records per second. Raises CommandError if it is invalid."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/s)?", text.strip())
    rate = float(match[1]) if match else 0.0
    if rate <= 0:
        raise CommandError(
            f"invalid rate {text!r}: give a number of records per second above 0, such as 500/s"
        )
    return rate


class Pace:
    """A rate limiter that holds the rate on average: after a delay, records catch up.

    per_s: records per second; None is unlimited. now, sleep: a monotonic clock, in seconds.
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
        """Block until the next record may be sent."""
        if self._per_s is None:
            return
        ahead_s = self._start + self._passed / self._per_s - self._now()
        self._passed += 1
        if ahead_s >= _MIN_SLEEP_S:
            self._sleep(ahead_s)
