"""Serves only health and metrics on Faust's web server.

Faust's own pages would expose its tables, by key and routed to other workers, its topics and its streams. User data
must not be reachable on the port for probes.
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
    """The part of the worker's app that the pages need."""

    web: Any
    page: Callable[[str], Callable[[Handler], Any]]
    metrics: WorkerMetrics

    @property
    def not_ready_reason(self) -> str | None:
        """The reason why no records are processed, or None."""
        ...


class _MalformedRequestFilter(logging.Filter):
    """Drops aiohttp's log of malformed requests: an error with a traceback and the request's content."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record."""
        error = record.exc_info[1] if record.exc_info else None
        return not (isinstance(error, HttpProcessingError) and error.code < 500)


_malformed_request_filter = _MalformedRequestFilter()


def add_pages(app: Served) -> None:
    """Serve /livez (the process runs), /readyz (records are processed, or the reason why not) and /metrics."""
    app.web.blueprints = BlueprintManager()  # removes Faust's pages, which are added when the server starts
    # addFilter ignores a filter that is already there.
    logging.getLogger("aiohttp.server").addFilter(_malformed_request_filter)

    @app.page("/livez")
    async def livez(web: Any, _request: Any) -> Any:
        return web.text("ok\n")

    @app.page("/readyz")
    async def readyz(web: Any, _request: Any) -> Any:
        reason = app.not_ready_reason
        return web.text("ok\n") if reason is None else web.text(f"{reason}\n", status=503)

    @app.page("/metrics")
    async def metrics(web: Any, _request: Any) -> Any:
        return web.bytes(app.metrics.render(), content_type=_METRICS_TYPE)
