"""Health and metrics on Faust's web server, and nothing else.

Faust would serve pages of its own: its tables, which may be looked into by key or routed to another worker, its
topics and its streams. What a worker knows of users is nobody's business on a port for probes.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp.http_exceptions import HttpProcessingError
from faust.web.base import BlueprintManager

from stream.worker.metrics import WorkerMetrics

Handler = Callable[[Any, Any], Awaitable[Any]]
_METRICS_TYPE = "text/plain"


class Served(Protocol):
    """What the pages need of the worker's app."""

    web: Any
    page: Callable[[str], Callable[[Handler], Any]]
    metrics: WorkerMetrics

    @property
    def not_ready_because(self) -> str | None:
        """Why no records are being processed, or None."""
        ...


class _CallersFaults(logging.Filter):
    """Drops what aiohttp logs for a request that is not HTTP: an error with its trace, and with what was sent."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether to log it."""
        error = record.exc_info[1] if record.exc_info else None
        return not (isinstance(error, HttpProcessingError) and error.code < 500)


_callers_faults = _CallersFaults()


def add_pages(app: Served) -> None:
    """Serve /livez (the process works), /readyz (records are processed, or why not) and /metrics."""
    app.web.blueprints = BlueprintManager()  # Faust's pages; they are added when the server starts
    logging.getLogger("aiohttp.server").addFilter(_callers_faults)  # the same one each time: it is added once

    @app.page("/livez")
    async def livez(web: Any, _request: Any) -> Any:
        return web.text("ok\n")

    @app.page("/readyz")
    async def readyz(web: Any, _request: Any) -> Any:
        reason = app.not_ready_because
        return web.text("ok\n") if reason is None else web.text(f"{reason}\n", status=503)

    @app.page("/metrics")
    async def metrics(web: Any, _request: Any) -> Any:
        return web.bytes(app.metrics.render(), content_type=_METRICS_TYPE)
