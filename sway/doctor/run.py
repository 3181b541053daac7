"""Sequential execution of checks, each with a timeout; a failing check does not stop the others."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from sway.doctor.findings import Finding, fail, warn

T = TypeVar("T")


class NotChecked(Exception):  # noqa: N818 - not an error: another check reports it
    """A check cannot run, for the reason in the message."""


@dataclass(frozen=True, slots=True)
class Check:
    """A named check. `look` returns findings; it may raise NotChecked, or an error whose message becomes a finding."""

    name: str
    look: Callable[[], Sequence[Finding]]


class Once(Generic[T]):
    """A lazy value that several checks share; an error from its creation is cached too."""

    def __init__(self, make: Callable[[], T], *, missing: str) -> None:
        """missing: the message of checks that depend on the value, if it cannot be created."""
        self._make = make
        self._missing = missing
        self._lock = threading.Lock()
        self._made: Future[T] | None = None

    def first(self) -> T:
        """Return the value, or raise the error of its creation; for the check that reports it."""
        with self._lock:
            if self._made is None:
                self._made = Future()
                try:
                    self._made.set_result(self._make())
                except Exception as exc:
                    # Every later call raises it again.
                    self._made.set_exception(exc)
        return self._made.result()

    def get(self) -> T:
        """Return the value. Raises NotChecked if it cannot be created; another check reports the reason."""
        try:
            return self.first()
        except Exception as exc:
            raise NotChecked(self._missing) from exc


def run_checks(
    checks: Sequence[Check],
    *,
    limit_s: float,
    expected: tuple[type[Exception], ...],
    on_check: Callable[[str], None] = lambda _name: None,
) -> Iterator[Finding]:
    """Yield the findings of each check, in order.

    limit_s: the timeout of a check in seconds; a check that exceeds it is abandoned and is a FAIL.
    expected: errors whose message becomes a finding; any other error is a bug and is shown with its type.
    on_check: called with the name of each check before it runs.
    """
    for check in checks:
        on_check(check.name)
        yield from _guarded(check, limit_s, expected)


def _guarded(check: Check, limit_s: float, expected: tuple[type[Exception], ...]) -> Sequence[Finding]:
    outcome: list[Sequence[Finding]] = []

    def look() -> None:
        outcome.append(_look(check, expected))

    thread = threading.Thread(target=look, name=f"check {check.name}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if not outcome:
        return [fail(check.name, f"no answer within {limit_s:g} s", "raise --timeout, or find the cause")]
    return outcome[0]


def _look(check: Check, expected: tuple[type[Exception], ...]) -> Sequence[Finding]:
    try:
        return check.look()
    except NotChecked as exc:
        return [warn(check.name, f"not checked: {exc}")]
    except expected as exc:
        return [fail(check.name, " ".join([str(exc), *getattr(exc, "__notes__", ())]))]
    except Exception as exc:
        return [
            fail(
                check.name,
                f"the check failed unexpectedly: {type(exc).__name__}: {exc}",
                "please report this",
            )
        ]
