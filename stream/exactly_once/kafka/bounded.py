"""Runs a blocking client call with a hard timeout.

librdkafka's send_offsets_to_transaction can exceed its own timeout (issues 5456 and 5511, open in 2.16). A broker that
is missing from one metadata response, as every restarting broker is, is removed from the client but remains the group
coordinator. The call then waits for a connection that is never made again.
"""

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Calls = SimpleQueue[tuple[Callable[[], Any], "Future[Any]"] | None]


class CallThread:
    """A thread that runs calls for another thread; a daemon, so a call that hangs does not block process exit."""

    def __init__(self, name: str) -> None:
        self._calls: _Calls = SimpleQueue()
        threading.Thread(target=_serve, args=(self._calls,), name=name, daemon=True).start()

    def call(self, what: Callable[[], T], timeout_s: float) -> T:
        """Return the result of the call, or raise its exception.

        Raises TimeoutError if the call has not returned after timeout_s. The call continues, and the thread is unusable
        afterwards.
        """
        answer: Future[T] = Future()
        self._calls.put((what, answer))
        return answer.result(timeout_s)

    def close(self) -> None:
        """Stop the thread after its current call, if any, returns."""
        self._calls.put(None)


def leak(what: object) -> None:
    """Leak an object: keep it alive until the process ends.

    For clients with a call that hangs: freeing such a client blocks the thread that drops the last reference.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))


def _serve(calls: _Calls) -> None:
    while (call := calls.get()) is not None:
        what, answer = call
        try:
            answer.set_result(what())
        except BaseException as exc:  # re-raised in the caller
            answer.set_exception(exc)
        del call, what, answer  # otherwise they would be referenced until the next call
