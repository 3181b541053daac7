"""Health and metrics on Faust's web server."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream.worker import SwayApp

Handler = Callable[[Any, Any], Awaitable[Any]]
_METRICS_TYPE = "text/plain"


def add_pages(app: "SwayApp") -> None:
    """Add /livez (the process works), /readyz (records are processed, or why not) and /metrics."""

    page: Callable[[str], Callable[[Handler], Any]] = app.page

    @page("/livez")
    async def livez(web: Any, _request: Any) -> Any:
        return web.text("ok\n")

    @page("/readyz")
    async def readyz(web: Any, _request: Any) -> Any:
        reason = app.not_ready_because
        return web.text("ok\n") if reason is None else web.text(f"{reason}\n", status=503)

    @page("/metrics")
    async def metrics(web: Any, _request: Any) -> Any:
        return web.bytes(app.metrics.render(), content_type=_METRICS_TYPE)
