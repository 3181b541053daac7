"""Arbitrary requests to a worker's port cause no server error, and the worker continues to score."""

import re
import select
import socket
import time
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.records import BehaviorEvent
from tests.integration.workers import Sway

PAGES = ["/livez", "/readyz", "/metrics"]
FAUSTS = [
    "/",
    "/table/",
    "/table/windows/ann/",
    "/router/",
    "/router/windows/ann/",
    "/graph",
    "/performance/",
]
_QUIET_S = 0.1  # without an answer for this long, no more is expected
_LIMIT_S = 5.0

token = st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True)
junk = st.binary(max_size=60)
methods = (
    st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"]) | token
)
paths = (
    st.sampled_from([page.encode() for page in [*PAGES, *FAUSTS]])
    | st.sampled_from(
        [b"*", b"//", b"/../../etc/passwd", b"/%00", b"/%", b"http://[", b"/livez?" + b"a=b&" * 2000]
    )
    | st.builds(lambda page, rest: page.encode() + rest, st.sampled_from(PAGES), junk)
    | junk
)
versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/9.9", b"HTTP/2.0", b"ICY", b""])
headers = st.one_of(
    st.sampled_from(
        [
            b"Content-Length: 5",
            b"Content-Length: 99999999999999999999999",
            b"Content-Length: -1",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: chunked, chunked",
            b"Content-Encoding: deflate",
            b"Content-Encoding: br",
            b"Expect: 100-continue",
            b"Expect: 200-perhaps",
            b"Connection: upgrade\r\nUpgrade: websocket",
            b"Connection: close",
            b"Range: bytes=0-,-5",
            b"Host: a\r\nHost: b",
            b" folded",
            b"X: " + b"x" * 9_000,
            b"X: " + b"x" * 100_000,
            b"\r\n".join(b"X%d: y" % number for number in range(2_000)),
        ]
    ),
    st.builds(lambda name, value: name + b": " + value, token, junk),
    junk,
)
bodies = st.one_of(
    st.just(b""),
    st.sampled_from(
        [b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n", b"-1\r\n\r\n", b"x" * 100_000]
    ),
    junk,
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw a request: valid, or with up to three invalid parts."""
    odd = draw(
        st.sets(
            st.sampled_from(["method", "path", "version", "host", "headers", "body", "cut", "all"]),
            max_size=3,
        )
    )
    if "all" in odd:
        return draw(st.binary(max_size=200))
    method = draw(methods) if "method" in odd else b"GET"
    path = draw(paths) if "path" in odd else draw(st.sampled_from(PAGES)).encode()
    line = b" ".join([method, path, draw(versions) if "version" in odd else b"HTTP/1.1"])
    lines = [line] if "host" in odd else [line, b"Host: a"]
    if "headers" in odd:
        lines += draw(st.lists(headers, min_size=1, max_size=4))
    sent = b"\r\n".join([*lines, b"", draw(bodies) if "body" in odd else b""])
    return sent[: draw(st.integers(0, len(sent)))] if "cut" in odd else sent


connections = st.lists(requests(), min_size=1, max_size=3).map(b"".join)


def answers(port: int, sent: list[bytes]) -> bytes:
    """Send each item on its own connection, all at once; return all answers until there are no more."""
    opened = [socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S) for _ in sent]
    try:
        for number, (one, data) in enumerate(zip(opened, sent, strict=True)):
            try:
                one.sendall(data)
                if number % 4 == 3:
                    # A half-closed connection may get no answer.
                    one.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the server may close the connection early
        return b"\n".join(_read(opened))
    finally:
        for one in opened:
            one.close()


def _read(opened: list[socket.socket]) -> list[bytes]:
    waiting, found = list(opened), []
    deadline = time.monotonic() + _LIMIT_S
    while waiting and time.monotonic() < deadline:
        ready, _, _ = select.select(waiting, [], [], _QUIET_S)
        if not ready:
            break
        for one in ready:
            try:
                got = one.recv(1 << 16)
            except OSError:
                got = b""
            found.append(got)
            if not got:
                waiting.remove(one)
    return found


def test_no_request_to_the_port_harms_a_worker(sway: Sway) -> None:
    worker = sway.create_topics().worker().start()
    worker.wait_until_ready()
    assert {page: worker.page(page)[0] for page in PAGES} == dict.fromkeys(PAGES, 200)
    assert {page: worker.page(page)[0] for page in FAUSTS} == dict.fromkeys(FAUSTS, 404)
    seen: Counter[int] = Counter()

    @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(connections, min_size=4, max_size=16))
    def fuzz(sent: list[bytes]) -> None:
        codes = [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d{3})", answers(worker.port, sent))]
        assert all(code < 500 for code in codes), codes
        seen.update(codes)

    fuzz()
    assert {200, 400} <= set(seen)  # some requests reach a page, and aiohttp refuses others
    assert worker.page("/livez") == (200, "ok\n")
    assert worker.page("/readyz") == (200, "ok\n")
    sway.produce(BehaviorEvent("e1", "ann", "watch", int(time.time() * 1000), item_text="alien"))
    sway.flush()
    sway.wait_for_answers(1)
    assert not re.search("Traceback|ERROR aiohttp", worker.log_text())
    assert worker.terminate() == 0
