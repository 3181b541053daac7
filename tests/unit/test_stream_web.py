"""What a worker's port serves is three pages, and nothing of Faust's own."""

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
    """Methods and paths, once the server has its routes."""
    app.web.init_server()
    routes = app.web.web_app.router.routes()
    return {(route.method, route.resource.canonical) for route in routes}


def test_a_worker_serves_three_pages_to_be_read_and_nothing_else(app: SwayApp) -> None:
    add_pages(app)
    pages = {"/livez", "/readyz", "/metrics"}
    assert served(app) == {(method, page) for method in ("GET", "HEAD") for page in pages}


def test_left_alone_faust_serves_its_tables_by_key(app: SwayApp) -> None:
    """If it no longer does, there is nothing to turn off."""
    assert ("GET", "/table/{name}/{key}/") in served(app)
