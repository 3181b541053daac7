"""A worker serves three pages and none of those of Faust."""

from pathlib import Path

import pytest

from stream.settings import Settings
from stream.worker.app import SwayApp
from stream.worker.metrics import WorkerMetrics
from stream.worker.web import add_pages


@pytest.fixture
def app(tmp_path: Path) -> SwayApp:
    return SwayApp(Settings(state_dir=tmp_path), WorkerMetrics())


def served(app: SwayApp) -> set[tuple[str, str]]:
    """Return the methods and paths that the server routes."""
    app.web.init_server()
    routes = app.web.web_app.router.routes()
    return {(route.method, route.resource.canonical) for route in routes}


def test_a_worker_serves_only_three_read_only_pages(app: SwayApp) -> None:
    add_pages(app)
    pages = {"/livez", "/readyz", "/metrics"}
    assert served(app) == {(method, page) for method in ("GET", "HEAD") for page in pages}


def test_faust_serves_its_tables_by_default(app: SwayApp) -> None:
    """If this fails, the worker no longer needs to turn these pages off."""
    assert ("GET", "/table/{name}/{key}/") in served(app)
