"""A Schema Registry that is down, slow or failing, and schemas that change during the load."""

import copy
import io
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import fastavro
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from schemas.contracts import current
from schemas.records import BehaviorEvent
from schemas.registry import connect
from sway.embedded import EmbeddedRegistry
from tests.faults.case import case
from tests.faults.load import Given, inputs
from tests.faults.process import ForkedWorker
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for

_SLOW_S = 8.0  # longer than the worker's timeout for a request


class Writer:
    """Writes events with its own schema, in Confluent's format."""

    def __init__(self, stage: Stage, client: SchemaRegistryClient, schema: Any) -> None:
        subject = f"{stage.topics.name('events')}-value"
        self._id = client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
        self._writer = fastavro.parse_schema(copy.deepcopy(schema))
        self._reader = fastavro.parse_schema(copy.deepcopy(current(BehaviorEvent)))
        self._names = {field["name"]: field.get("aliases", []) for field in schema["fields"]}

    def give(self, given: Given) -> Given:
        """Encode a valid event as this writer does, and set its fields as a reader must decode them.

        Any other input is returned unchanged.
        """
        if not isinstance(given.what, BehaviorEvent) or given.reason is not None:
            return given
        fields = asdict(given.what)
        record = {
            name: next((fields[known] for known in (name, *aliases) if known in fields), "new")
            for name, aliases in self._names.items()
        }
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self._writer, record)
        body.seek(0)
        read: Any = fastavro.schemaless_reader(body, self._writer, self._reader)
        encoded = b"\0" + self._id.to_bytes(4, "big") + body.getvalue()
        read["occurred_at"] = given.what.occurred_at  # fastavro returns a datetime
        return Given(BehaviorEvent(**{name: read[name] for name in fields}), encoded=encoded)


def changed(*, added: str, removed: str | None = None, renamed: tuple[str, str] | None = None) -> Any:
    """Return the schema of events with a field added, one removed, and one renamed with an alias."""
    schema = copy.deepcopy(current(BehaviorEvent))
    schema["fields"] = [field for field in schema["fields"] if field["name"] != removed]
    if renamed is not None:
        field = next(field for field in schema["fields"] if field["name"] == renamed[0])
        field.update(name=renamed[1], aliases=[renamed[0]])
    schema["fields"].append({"name": added, "type": "string", "default": ""})
    return schema


class FaultyProxy:
    """An HTTP proxy for the registry with switches: answer late, or with status 500."""

    def __init__(self, registry: EmbeddedRegistry) -> None:
        self.slow_s = 0.0
        self.fails = False
        proxy, base = self, "/".join(registry.url.split("/")[:3])

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._pass(None)

            def do_POST(self) -> None:
                self._pass(self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_: Any) -> None: ...

            def _pass(self, body: bytes | None) -> None:
                time.sleep(proxy.slow_s)
                status, answer = (500, b"{}") if proxy.fails else _ask(base + self.path, self, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/{registry.url.split('/', 3)[3]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _ask(address: str, asked: BaseHTTPRequestHandler, body: bytes | None) -> tuple[int, bytes]:
    headers = {"Content-Type": asked.headers.get("Content-Type", "application/json")}
    request = urllib.request.Request(address, body, headers)  # noqa: S310 - the embedded registry
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read()
    except OSError:
        return 502, b"{}"


@contextmanager
def registry_and_proxy(stage: Stage) -> Iterator[tuple[EmbeddedRegistry, FaultyProxy, SchemaRegistryClient]]:
    """Yield a registry for this case, the proxy through which workers use it, and a direct client."""
    with EmbeddedRegistry() as registry:
        proxy = FaultyProxy(registry)
        stage.environment["SWAY_WIRE__REGISTRY_URL"] = proxy.url
        with connect(registry.url) as client:
            yield registry, proxy, client
        proxy.close()


def is_waiting(worker: ForkedWorker) -> bool:
    """Return whether the worker reports that it waits for the registry."""
    return worker.page("/readyz") == (503, "waiting for the Schema Registry\n")


@case("Schema Registry down, slow, answering 500")
def away(stage: Stage) -> None:
    with registry_and_proxy(stage) as (registry, proxy, client):
        (worker,) = stage.create_topics().start("a")
        source = inputs()
        writers = [Writer(stage, client, changed(added=f"extra{number}")) for number in range(3)]

        def give(writer: Writer, count: int) -> None:
            for _ in range(count):
                stage.give(writer.give(next(source)))
            stage.flush()

        # Each writer has a schema id that is new to the worker.
        for number, writer in enumerate(writers):
            letters = len(stage.answers.letters)
            began = time.monotonic()
            if number == 0:
                registry.kill()
            proxy.fails, proxy.slow_s = number == 1, _SLOW_S * (number == 2)
            give(writer, 200)
            wait_for(lambda: is_waiting(worker), "a worker that waits", timeout_s=30)
            stage.answers.read()
            assert all(one.reason not in {"unknown_schema"} for one in stage.answers.letters[letters:])
            if number == 0:
                registry.start()
            proxy.fails, proxy.slow_s = False, 0.0
            wait_for(lambda: stage.answers.read() >= stage.due(), "an answer to each event", timeout_s=60)
            stage.recoveries_s.append(time.monotonic() - began)
        worker.wait_until_ready()


@case("a schema that evolves in mid-stream: added, removed, renamed with an alias")
def evolves(stage: Stage) -> None:
    with registry_and_proxy(stage) as (_registry, _proxy, client):
        (worker,) = stage.create_topics().start("a")

        def source() -> Iterator[Given]:
            schemas = (
                changed(added="campaign"),
                changed(added="campaign", removed="domain"),
                changed(added="campaign", renamed=("item_text", "title")),
            )
            given = inputs()
            for schema in schemas:
                writer = Writer(stage, client, schema)  # registers the schema
                yield from (writer.give(next(given)) for _ in range(500))
            yield from given

        stage.feed(source=source())
        stage.wait_for_more(1400)
        stage.stop_feeding()
        stage.wait_for_more(0)
        assert worker.runs
