"""The dependency audit fails on a finding, and reports an unreachable source. The sources are local servers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sway.embedded.ports import free_port
from tools import dependency_audit

HASH = "0" * 64
Answer = tuple[int, bytes]
ADVISORY = {"vulns": [{"id": "TEST-2026-1", "summary": "A hole.", "affected": []}]}


def advises_on(*vulnerable: str) -> Callable[[dict[str, Any]], Answer]:
    """Return the answers of a source with advisories for these packages, in any version."""

    def answer(query: dict[str, Any]) -> Answer:
        return 200, json.dumps(ADVISORY if query["package"]["name"] in vulnerable else {}).encode()

    return answer


def fails_midway(query: dict[str, Any]) -> Answer:
    return advises_on("jinja2")(query) if query["package"]["name"] == "jinja2" else (500, b"")


@contextmanager
def source(answer: Callable[[dict[str, Any]], Answer]) -> Iterator[str]:
    """Serve OSV's protocol and yield the address of the source."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = answer(query)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> str:
    """A lock file of two packages, one of them for another system."""
    path = tmp_path / "requirements.lock"
    elsewhere = f'lantern==1.0 ; sys_platform == "plan9" --hash=sha256:{HASH}'
    path.write_text(f"idna==3.10 --hash=sha256:{HASH}\n{elsewhere}\n")
    return str(path)


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (advises_on("jinja2"), 0, "No known vulnerabilities found"),
        (advises_on("jinja2", "idna"), 1, "TEST-2026-1"),
        (fails_midway, 1, ""),
    ],
    ids=["nothing found", "a finding", "it fails midway"],
)
def test_a_reachable_source_decides(
    lock: str,
    capfd: pytest.CaptureFixture[str],
    answer: Callable[[dict[str, Any]], Answer],
    status: int,
    message: str,
) -> None:
    with source(answer) as url:
        assert dependency_audit.main([lock, "--osv-url", url]) == status
    out, err = capfd.readouterr()
    assert message in out + err
    assert "not audited" not in out


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _query: (404, b"{}"), "HTTP status 404"),
        (lambda _query: (200, b"<html>"), "the response is not JSON"),
        (advises_on(), "it does not report a known vulnerability"),
    ],
    ids=["not found", "a page", "an empty database"],
)
def test_an_unusable_source_is_reported(
    lock: str, capfd: pytest.CaptureFixture[str], answer: Callable[[dict[str, Any]], Answer], reason: str
) -> None:
    with source(answer) as url:
        assert dependency_audit.main([lock, "--osv-url", url]) == 0
    assert capfd.readouterr().out == f"not audited: no advisory source is reachable ({url}: {reason})\n"


def test_an_unreachable_source_is_reported(lock: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert dependency_audit.main([lock, "--osv-url", f"http://127.0.0.1:{free_port()}/"]) == 0
    assert "not audited: no advisory source is reachable" in capfd.readouterr().out
