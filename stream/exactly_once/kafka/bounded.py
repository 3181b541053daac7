"""Calls that are waited for no longer than one wants, also where the library called forgets its time-out.

librdkafka's send_offsets_to_transaction does (its issues 5456 and 5511, open in 2.16): a broker that is missing from
one answer about the cluster, as each is that restarts, is forgotten, but not as the group's coordinator. The call then
waits for a connection that nobody makes any more.
"""

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Asked = SimpleQueue[tuple[Callable[[], Any], "Future[Any]"] | None]


class CallThread:
    """A thread that makes calls for another; a daemon, so that a call that never ends does not hold up the process."""

    def __init__(self, name: str) -> None:
        self._asked: _Asked = SimpleQueue()
        threading.Thread(target=_serve, args=(self._asked,), name=name, daemon=True).start()

    def call(self, what: Callable[[], T], timeout_s: float) -> T:
        """Return what the call returns, or raise what it raises.

        Raises TimeoutError if it has not ended after timeout_s; it goes on, and this thread is good for nothing then.
        """
        answer: Future[T] = Future()
        self._asked.put((what, answer))
        return answer.result(timeout_s)

    def close(self) -> None:
        """Have the thread end, after the call that it makes, if it does."""
        self._asked.put(None)


def never_free(what: object) -> None:
    """Keep an object for the life of the process, past its last reference.

    For clients with a call that has not ended: to free one is to wait for it, on whichever thread that happens.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))


def _serve(asked: _Asked) -> None:
    while (call := asked.get()) is not None:
        what, answer = call
        try:
            answer.set_result(what())
        except BaseException as exc:  # whatever it is, it is the caller's
            answer.set_exception(exc)
        del call, what, answer  # they would be kept until the next call
