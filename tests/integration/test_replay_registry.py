"""An unreachable Schema Registry during a replay: the replay waits, can be stopped, and continues by itself."""

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
    """Answers requests for schemas by id, as a Schema Registry does."""

    def do_GET(self) -> None:
        """Answer with the schema of an id."""
        schema_id = int(self.path.split("?")[0].rsplit("/", 1)[1])
        answer = json.dumps({"schema": current_text(IDS[schema_id])}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextmanager
def registry_at(port: int) -> Iterator[None]:
    """Run a registry at a port for the duration of the block."""
    with HTTPServer(("127.0.0.1", port), Schemas) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def confluent(schema_id: int, record: Record) -> bytes:
    """Return a record in Confluent's format."""
    return b"\0" + schema_id.to_bytes(4, "big") + Codec(IDS[schema_id]).encode(record)[10:]


@pytest.fixture
def filled(sway: Sway) -> Sway:
    """Events of one partition: the first half in single-object encoding, the second in Confluent's format."""
    sway.create_topics(partitions=1)
    for number in range(EVENTS):
        event = BehaviorEvent(f"e{number}", f"user-{number % 9}", "watch", START_MS + number, "i", "alien")
        sway.produce(event, encoded=confluent(7, event) if number >= EVENTS // 2 else None)
    sway.flush()
    return sway


def replay_at(sway: Sway, registry: Path, port: int) -> Replay:
    """Return a replay that uses the registry at a port."""
    return Replay(sway, registry, batch_records=10, wire={"registry_url": f"http://127.0.0.1:{port}"})


def wait_until_closed(caplog: pytest.LogCaptureFixture, *, schema_id: int, times: int) -> None:
    """Wait until the partition was closed `times` times because a schema was not available."""
    line = f"Closing partition 0, will retry: The Schema Registry did not answer when fetching the schema {schema_id}:"
    wait_for(lambda: caplog.text.count(line) >= times, f"partition closed {times} times")


def test_a_replay_waits_for_the_registry_and_continues(
    filled: Sway, registry: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    replay = replay_at(filled, registry, port)
    with replay.in_a_thread() as running:
        wait_until_closed(caplog, schema_id=7, times=2)
        with registry_at(port):
            running.wait()
    assert sorted(places(replay.rows())) == ALL


def test_a_replay_can_be_stopped_during_a_registry_outage(
    filled: Sway, registry: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replay = replay_at(filled, registry, free_port())
    with replay.in_a_thread() as running:
        wait_until_closed(caplog, schema_id=7, times=1)
        running.runner.stop()
        running.wait()
    assert replay.rows() == []


def test_a_replay_waits_for_the_schema_of_old_scores(
    filled: Sway, registry: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    for number in range(EVENTS):
        source = Source(filled.topics.name("events"), 0, number)
        score = InfluenceScore(
            event_id="e",
            user_id="u",
            item_id="",
            y_hat=0.5,
            z_hat=0.5,
            influence=0.5,
            model_version="v",
            dtype="fp32",
            behaviours=0,
            truncated=False,
            duplicate=False,
            source=source,
            outcomes_next=0,
            occurred_at=0,
            scored_at=0,
        )
        filled.produce(confluent(8, score), topic="scores")
    filled.flush()
    with registry_at(port):
        plan = replay_at(filled, registry, port).plan()
    assert plan.partitions[0].known_events == EVENTS
    replay = replay_at(filled, registry, port)  # with an empty schema cache
    with replay.in_a_thread() as running:
        wait_until_closed(caplog, schema_id=8, times=2)
        with registry_at(port):
            running.wait()
    assert sorted(places(replay.rows())) == ALL
