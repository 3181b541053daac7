"""Different versions side by side: workers of an older one in our group, and state and events of a newer one."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from confluent_kafka import Producer

from schemas.contracts import current, fingerprint
from schemas.records import BehaviorEvent
from schemas.state_records import Window
from schemas.wire import SINGLE_OBJECT_HEADER_BYTES, SINGLE_OBJECT_MAGIC, Codec
from tests.faults import falling_due
from tests.faults.audit import Audit
from tests.faults.case import case
from tests.faults.inside import Inside
from tests.faults.load import Given, inputs
from tests.faults.older import VersionedWorker, old_tree
from tests.faults.process import ForkedWorker
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for

_STUCK_AFTER_S = 10  # three of four partitions make progress, at 150 events a second
_ENDS_WITHIN_S = 20.0  # for a worker that waits for a schema and gets SIGTERM, on a busy machine


# --- an older version -------------------------------------------------------------------------------------------


@case("a rolling upgrade from e102bdb and back, two workers under load", limit_s=600)
def up_and_down_again(stage: Stage) -> None:
    workers = _old_ones(stage, "a", "b")
    stage.feed()
    stage.wait_for_more(300)
    _up_and_down(stage, workers)


@case("an upgrade from e102bdb, back, and up again, with labels that fall due", limit_s=600)
def up_and_down_with_labels(stage: Stage) -> Audit:
    (worker,) = _old_ones(stage, "a", **falling_due.SETTINGS)
    older = worker.tree
    load = falling_due.load()
    stage.feed(source=load)
    stage.wait_for_more(300)
    _replace(stage, worker, None, killed=True)
    stage.stop_feeding()
    # Until events that our version has read fall due.
    stage.feed(falling_due.FIRST_RATE_PER_S, load)
    stage.wait_for_more(falling_due.UNTIL_THE_FIRST_FALL_DUE, timeout_s=200)
    stage.stop_feeding()
    stage.feed(source=load)
    for tree in (older, None):
        _replace(stage, worker, tree, killed=True)
        stage.wait_for_more(300)
    falling_due.close(stage)
    assert worker.terminate() == 0
    return falling_due.audit(stage)


def _old_ones(stage: Stage, *names: str, **settings: Any) -> list[VersionedWorker]:
    """Start workers of the older version, and wait until they are ready."""
    tree = old_tree()
    stage.create_topics()
    workers = _versioned(stage, *names, **settings)
    for worker in workers:
        worker.tree = tree
        worker.start()
    for worker in workers:
        worker.wait_until_ready()
    return workers


def _up_and_down(stage: Stage, workers: list[VersionedWorker]) -> None:
    """Upgrade the workers one by one, and then downgrade them; every other worker is killed for it."""
    older = workers[0].tree
    for goal in (None, older):
        for number, worker in enumerate(workers):
            _replace(stage, worker, goal, killed=number % 2 == 0)
            stage.wait_for_more(300)


def _versioned(stage: Stage, *names: str, **settings: Any) -> list[VersionedWorker]:
    stage._new_worker = VersionedWorker
    return [cast("VersionedWorker", stage.worker(name, **settings)) for name in names]


def _replace(stage: Stage, worker: VersionedWorker, tree: Path | None, *, killed: bool) -> None:
    """Restart a worker in another version with its state folder."""
    began = time.monotonic()
    if killed:
        worker.kill()
    else:
        assert worker.terminate() == 0
    worker.tree = tree
    worker.start().wait_until_ready()
    stage.wait_until_caught_up(began)
    stage.check_offsets()


# --- a newer version --------------------------------------------------------------------------------------------


def newer(record_type: type[Any]) -> str:
    """Return the schema of a record in a later version of Sway, with an added field."""
    schema = current(record_type)
    schema["fields"].append({"name": "added", "type": "string", "default": ""})
    return json.dumps(schema)


def as_newer(record_type: type[Any], value: bytes) -> bytes:
    """Return a value of our schema as the later version encodes it."""
    header = SINGLE_OBJECT_MAGIC + fingerprint(json.loads(newer(record_type)))
    return header + value[SINGLE_OBJECT_HEADER_BYTES:] + b"\x06new"


@case("state that a newer version has written: refused with a line, twice, and read after the upgrade")
def newer_state(stage: Stage) -> None:
    (worker,) = stage.create_topics().start("a")
    stage.feed()
    stage.wait_for_more(300)
    stage.stop_feeding()
    wait_for(lambda: stage.answers.read() >= stage.due(), "all answers", timeout_s=60)
    assert worker.terminate() == 0
    user = _write_newer_window(stage)
    committed = stage.committed()
    stage.give_event(BehaviorEvent("of-the-newer", user, "watch", int(time.time() * 1000)))
    stage.flush()
    for _ in range(2):
        _refuses_the_state(worker)
        assert stage.committed() == committed
    began = time.monotonic()
    worker.inside = Inside(newer_schemas=(newer(Window),))
    worker.start()
    stage.feed(source=inputs(seed=8))
    stage.wait_until_caught_up(began)


def _write_newer_window(stage: Stage) -> str:
    """Write a user's window as a newer version does; return the user."""
    partition, users = next((number, users) for number, users in stage.changelog().items() if users)
    user, window = next(iter(users.items()))
    producer = Producer({"bootstrap.servers": stage.topics.bootstrap_servers})
    topic = f"{stage.topics.prefix}-windows-changelog"
    producer.produce(topic, as_newer(Window, window), user, partition)
    assert producer.flush(30) == 0
    return user.decode()


def _refuses_the_state(worker: ForkedWorker) -> None:
    before = worker.log_text()
    worker.start()
    assert worker.wait(60) == 1
    new = worker.log_text()[len(before) :]
    (line,) = [line for line in new.splitlines() if "The worker ends:" in line]
    fingerprints = [fingerprint(schema).hex() for schema in (json.loads(newer(Window)), current(Window))]
    for words in ("StateFormatError", "windows-changelog[", *fingerprints, "Upgrade this worker"):
        assert words in line, (words, line)
    assert "errors.StateFormatError: " not in new  # the end of a stack trace
    assert "rebuilt" not in new


@case("events of a newer producer with wire.unknown_schema=pause: their partition waits for the upgrade")
def newer_events(stage: Stage) -> None:
    bounds = {"SWAY_WIRE__UNKNOWN_SCHEMA": "pause", "SWAY_TIME__STUCK_AFTER_S": _STUCK_AFTER_S}
    (worker,) = stage.create_topics().start("a", **bounds)
    stage.feed(source=_with_a_newer_event())
    wait_for(lambda: "is paused at offset" in worker.page("/readyz")[1], "a paused partition", timeout_s=60)
    schema = f"schema fingerprint {fingerprint(json.loads(newer(BehaviorEvent))).hex()}"
    status, text = worker.page("/readyz")
    assert status == 503, text
    assert schema.removeprefix("schema ") in text, text
    wait_for(lambda: f'schema="{schema}"' in worker.page("/metrics")[1], "the metric", timeout_s=30)
    stage.wait_for_more(1_500)  # from the other partitions, for longer than _STUCK_AFTER_S
    (paused,) = [number for number in range(stage.partitions) if f"events[{number}] is paused" in text]
    assert worker.runs
    lag = f'sway_lag_records{{partition="{paused}",topic="{stage.topics.name("events")}"}}'
    wait_for(lambda: worker.metric(lag) > 100, "lag of the paused partition", timeout_s=30)
    began = time.monotonic()
    assert worker.terminate() == 0
    took_s = time.monotonic() - began
    assert took_s < _ENDS_WITHIN_S
    stage.notes["ended on SIGTERM in"] = f"{took_s:.1f} s"
    assert f"events[{paused}] is paused at offset" in worker.log_text()
    worker.start()
    wait_for(
        lambda: "is paused at offset" in worker.page("/readyz")[1],
        "the partition to be paused again",
        timeout_s=60,
    )
    assert worker.terminate() == 0
    began = time.monotonic()
    worker.inside = Inside(newer_schemas=(newer(BehaviorEvent),))
    worker.start()
    stage.wait_until_caught_up(began)


def _with_a_newer_event() -> Iterator[Given]:
    codec = Codec(BehaviorEvent)
    for number, given in enumerate(inputs(bad_every=0)):
        if number == 500 and isinstance(given.what, BehaviorEvent):
            yield Given(given.what, encoded=as_newer(BehaviorEvent, codec.encode(given.what)))
        else:
            yield given
