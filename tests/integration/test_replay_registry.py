"""A Schema Registry that is away while a replay needs it: the replay waits, can be stopped, and goes on by itself."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from schemas.contracts import current_text
from schemas.records import BehaviorEvent, InfluenceScore, Record, Source
from schemas.wire import Codec
from sway.embedded.ports import free_port
from tests.integration.conftest import wait_for
from tests.integration.replaying import Replay, places
from tests.integration.workers import Sway

EVENTS = 30
ALL = [(0, offset) for offset in range(EVENTS)]
IDS: dict[int, type[Record]] = {7: BehaviorEvent, 8: InfluenceScore}
START_MS = 1_750_000_000_000


class Schemas(BaseHTTPRequestHandler):
    """Answers for the schemas' ids as a Schema Registry does."""

    def do_GET(self) -> None:
        """Tell the schema of an id."""
        schema_id = int(self.path.split("?")[0].rsplit("/", 1)[1])
        answer = json.dumps({"schema": current_text(IDS[schema_id])}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def registry_at(port: int) -> Iterator[None]:
    """It is there while the block runs."""
    with HTTPServer(("127.0.0.1", port), Schemas) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def confluent(schema_id: int, record: Record) -> bytes:
    """A record in Confluent's format."""
    return b"\0" + schema_id.to_bytes(4, "big") + Codec(IDS[schema_id]).encode(record)[10:]


@pytest.fixture
def filled(sway: Sway) -> Sway:
    """Events of one partition in single-object encoding, but for the last ones."""
    sway.create_topics(1)
    for number in range(EVENTS):
        event = BehaviorEvent(f"e{number}", f"user-{number % 9}", "watch", START_MS + number, "i", "alien")
        sway.produce(event, encoded=confluent(7, event) if number >= EVENTS // 2 else None)
    sway.flush()
    return sway


def replay_at(sway: Sway, registry: Path, port: int) -> Replay:
    """A replay that asks the registry at a port."""
    return Replay(sway, registry, batch_records=10, wire={"registry_url": f"http://127.0.0.1:{port}"})


def wait_until_let_go(caplog: pytest.LogCaptureFixture, schema_id: int, times: int) -> None:
    """Wait until the partition was closed so many times because its schema was not available."""
    said = f"Closing partition 0, will retry: The Schema Registry did not answer when fetching the schema {schema_id}:"
    wait_for(lambda: caplog.text.count(said) >= times, f"partition closed {times} times")


def test_it_waits_for_the_registry_and_goes_on_by_itself(
    filled: Sway, registry: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    replay = replay_at(filled, registry, port)
    with replay.in_a_thread() as running:
        wait_until_let_go(caplog, 7, times=2)
        with registry_at(port):
            running.wait()
    assert sorted(places(replay.rows())) == ALL


def test_it_can_be_stopped_while_the_registry_is_away(
    filled: Sway, registry: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replay = replay_at(filled, registry, free_port())
    with replay.in_a_thread() as running:
        wait_until_let_go(caplog, 7, times=1)
        running.runner.stop()
        running.wait()
    assert replay.rows() == []


def test_it_waits_for_the_schema_of_old_scores_too(
    filled: Sway, registry: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    for number in range(EVENTS):
        source = Source(filled.topics.name("events"), 0, number)
        score = InfluenceScore("e", "u", "", 0.5, 0.5, 0.5, "v", "fp32", 0, False, False, source, 0, 0, 0)
        filled.produce(confluent(8, score), topic="scores")
    filled.flush()
    with registry_at(port):
        plan = replay_at(filled, registry, port).plan()
    assert plan.partitions[0].known_events == EVENTS
    replay = replay_at(filled, registry, port)  # which has not met any id yet
    with replay.in_a_thread() as running:
        wait_until_let_go(caplog, 8, times=2)
        with registry_at(port):
            running.wait()
    assert sorted(places(replay.rows())) == ALL
