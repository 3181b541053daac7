"""Throughput of `sway import` of a Parquet file, against a bare producer loop and `sway produce`.

The bare loop sends the same encoded bytes. Each runs in its own process; the time starts with the first record, so
process start-up is not included.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.movies import events
from benchmarks.rows import Row
from benchmarks.stand import Stand
from schemas.records import BehaviorEvent
from schemas.wire import Codec

EVENTS = 400_000
AIM = 0.5
_ROUNDS = 3


def rows(stand: Stand) -> list[Row]:
    """Run the bare loop and the import alternately, best of three each, then `sway produce` once."""
    path = write_log(stand.folder / "events.parquet", EVENTS)
    bare, ours = 0.0, 0.0
    for turn in range(_ROUNDS):
        bare = max(bare, _rate(stand, f"bare-{turn}", "bare", path))
        ours = max(ours, _rate(stand, f"import-{turn}", "import", path))
    produced = _rate(stand, "produce", "produce", path)
    return [
        Row.compared(
            "sway import, Parquet",
            ours,
            "events/s",
            "bare producer loop of the same bytes",
            bare,
            at_least=AIM,
        ),
        Row.compared("sway import, Parquet", ours, "events/s", "sway produce", produced),
    ]


def write_log(path: Path, number: int) -> Path:
    """Write a number of MovieLens events to a Parquet file, with one column per non-empty field."""
    listed = list(events(number))
    names = [field.name for field in fields(BehaviorEvent) if field.name not in {"value", "attributes"}]
    table = pa.table({name: [getattr(event, name) for event in listed] for name in names})
    pq.write_table(table, path)
    return path


def _rate(stand: Stand, topic: str, way: str, path: Path) -> float:
    topic = f"bench.{topic}"
    stand.create_topics(topic, **{"retention.ms": "-1"})
    settings = {"SWAY_KAFKA__BOOTSTRAP_SERVERS": stand.servers}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SWAY_")}
    module = "benchmarks.importing" if way == "bare" else "sway"
    arguments = [topic, str(path)] if way == "bare" else [way, str(path), "--topic", topic]
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment | settings,
        capture_output=True,
        check=True,
        text=True,
    )
    # The last line of both commands and of main().
    rate = re.search(r"([\d,]+)/s\)", done.stderr)
    assert rate is not None, done.stderr
    return float(rate[1].replace(",", ""))


def _bare(topic: str, path: Path) -> float:
    from confluent_kafka import Producer

    from stream.settings import PARTITIONER, Settings

    table = pq.read_table(path).to_pylist()
    records = [BehaviorEvent(**row) for row in table]
    values = Codec(BehaviorEvent).encode_batch(records)
    keys = [record.user_id.encode() for record in records]
    times = [record.occurred_at for record in records]
    del table, records
    producer = Producer(
        {
            **Settings().kafka.client_config(),
            "partitioner": PARTITIONER,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
        }
    )
    started = time.perf_counter()
    for key, value, at_ms in zip(keys, values, times, strict=True):
        while True:
            try:
                producer.produce(topic, value, key, timestamp=at_ms)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    return len(values) / (time.perf_counter() - started)


def main() -> None:
    """Run the bare loop in this process and print its rate in the format of the commands."""
    topic, path = sys.argv[1:]
    print(f"({_bare(topic, Path(path)):,.0f}/s)", file=sys.stderr)


if __name__ == "__main__":
    main()
