"""`sway import` of a Parquet file beside a bare producer loop of the same encoded bytes, and beside `sway produce`.

Each is a process of its own, and its time begins with its first record: starting Python and reading arguments is left
out of all three.
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
    """Import, send bare and produce, in turn; each at its best of three, the last once."""
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
    """Write so many events of MovieLens as a Parquet file with a column a field that holds something."""
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
    told = re.search(r"([\d,]+)/s\)", done.stderr)  # the last line of both commands, and of main
    assert told is not None, done.stderr
    return float(told[1].replace(",", ""))


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
    """Send bare in this process and tell the rate as the commands do."""
    topic, path = sys.argv[1:]
    print(f"({_bare(topic, Path(path)):,.0f}/s)", file=sys.stderr)


if __name__ == "__main__":
    main()
