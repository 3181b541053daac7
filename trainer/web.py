"""The trainer's HTTP server: GET and HEAD of /livez, /readyz and /metrics, as on a worker."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from trainer.errors import ServiceError

_IDLE_S = 10.0  # the timeout of an idle connection
_TEXT = "text/plain; charset=utf-8"

Pages = dict[str, Callable[[], tuple[int, bytes]]]
"""By path, a function that returns the status and the body."""


def pages(not_ready_because: Callable[[], str | None], metrics: Callable[[], bytes]) -> Pages:
    """Return the pages. not_ready_because: returns why no requests are handled, or None."""

    def readyz() -> tuple[int, bytes]:
        reason = not_ready_because()
        return (200, b"ok\n") if reason is None else (503, f"{reason}\n".encode())

    return {"/livez": lambda: (200, b"ok\n"), "/readyz": readyz, "/metrics": lambda: (200, metrics())}


@contextmanager
def serving(shown: Pages, host: str, port: int) -> Iterator[int]:
    """Serve the pages on background threads for the duration of the block; yield the port.

    port: 0 for any free port. Raises ServiceError if the address cannot be bound.
    """

    class Handler(_Handler):
        pages = shown

    try:
        server = _Server((host, port), Handler)
    except OSError as exc:
        raise ServiceError(
            f"cannot listen on {host}:{port}: {exc.strerror}. Set SWAY_TRAINER__WEB_PORT, one for each trainer on a "
            "machine, or SWAY_TRAINER__WEB_ENABLED=false"
        ) from exc
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="web", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # do not wait for clients that keep their connection open

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    pages: Pages
    timeout = _IDLE_S
    server_version = "sway"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
        """Log no requests: they may contain private data."""

    def _answer(self) -> None:
        page = self.pages.get(self.path.partition("?")[0])
        status, text = (HTTPStatus.NOT_FOUND, b"not found\n") if page is None else page()
        self.send_response(status)
        self.send_header("Content-Type", _TEXT)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
