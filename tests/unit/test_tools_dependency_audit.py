"""The dependency audit fails on a finding, and says so when there was nobody to ask; the sources are our own."""

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


def knows(*vulnerable: str) -> Callable[[dict[str, Any]], Answer]:
    """A source that knows of these packages, in any version."""

    def answer(query: dict[str, Any]) -> Answer:
        return 200, json.dumps(ADVISORY if query["package"]["name"] in vulnerable else {}).encode()

    return answer


def breaks_off(query: dict[str, Any]) -> Answer:
    return knows("jinja2")(query) if query["package"]["name"] == "jinja2" else (500, b"")


@contextmanager
def source(answer: Callable[[dict[str, Any]], Answer]) -> Iterator[str]:
    """The address of an advisory source that speaks OSV's protocol."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = answer(query)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

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
    ("answer", "status", "said"),
    [
        (knows("jinja2"), 0, "No known vulnerabilities found"),
        (knows("jinja2", "idna"), 1, "TEST-2026-1"),
        (breaks_off, 1, ""),
    ],
    ids=["nothing found", "a finding", "it breaks off"],
)
def test_a_source_that_is_reachable_decides(
    lock: str,
    capfd: pytest.CaptureFixture[str],
    answer: Callable[[dict[str, Any]], Answer],
    status: int,
    said: str,
) -> None:
    with source(answer) as url:
        assert dependency_audit.main([lock, "--osv-url", url]) == status
    out, err = capfd.readouterr()
    assert said in out + err
    assert "not audited" not in out


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda _query: (404, b"{}"), "HTTP status 404"),
        (lambda _query: (200, b"<html>"), "the response is not JSON"),
        (knows(), "it does not report a known vulnerability"),
    ],
    ids=["not found", "a page", "an empty database"],
)
def test_what_is_no_source_audits_nothing_and_says_so(
    lock: str, capfd: pytest.CaptureFixture[str], answer: Callable[[dict[str, Any]], Answer], why: str
) -> None:
    with source(answer) as url:
        assert dependency_audit.main([lock, "--osv-url", url]) == 0
    assert capfd.readouterr().out == f"not audited: no advisory source is reachable ({url}: {why})\n"


def test_nobody_at_the_address_is_no_source(lock: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert dependency_audit.main([lock, "--osv-url", f"http://127.0.0.1:{free_port()}/"]) == 0
    assert "not audited: no advisory source is reachable" in capfd.readouterr().out
