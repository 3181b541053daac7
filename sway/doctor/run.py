"""Runs checks one after the other, none of which can stop or hold up the others."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from sway.doctor.findings import Finding, fail, warn

T = TypeVar("T")


class NotChecked(Exception):  # noqa: N818 - not an error: another check says what is wrong
    """A check has nothing to look at; the message says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """A name for the table and what to look at; raises NotChecked, or an error whose message is the finding."""

    name: str
    look: Callable[[], Sequence[Finding]]


class Once(Generic[T]):
    """A value that several checks need, made when the first one asks; its error stands too."""

    def __init__(self, make: Callable[[], T], *, missing: str) -> None:
        """missing: what a check says that cannot work without the value."""
        self._make = make
        self._missing = missing
        self._lock = threading.Lock()
        self._made: Future[T] | None = None

    def first(self) -> T:
        """Return the value, or raise why there is none: for the check whose subject it is."""
        with self._lock:
            if self._made is None:
                self._made = Future()
                try:
                    self._made.set_result(self._make())
                except Exception as exc:  # told by every later call
                    self._made.set_exception(exc)
        return self._made.result()

    def get(self) -> T:
        """Return the value. Raises NotChecked if there is none: the other check says why."""
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
    """Yield what each check finds, in their order.

    limit_s: a check that takes longer is left alone and is a FAIL. expected: errors whose messages are meant
    for people; any other is shown with its type, since it is a bug of ours.
    on_check: told the name before each check.
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
        return [
            fail(check.name, f"no answer within {limit_s:g} s", "give it longer with --timeout, or see why")
        ]
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
            fail(check.name, f"the check itself failed: {type(exc).__name__}: {exc}", "please report this")
        ]
