"""Faults of the local state and its changelog."""

import shutil
import subprocess
import time
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from tests.faults.case import case
from tests.faults.load import inputs
from tests.faults.process import ForkedWorker
from tests.faults.stage import Stage
from tests.faults.transactions import alter
from tests.integration.conftest import wait_for

_DISK_MB = 24
_ENDS_WITHIN_S = 15.0  # for a worker whose disk is full


@case("state folder deleted")
def folder_deleted(stage: Stage) -> None:
    (worker,) = stage.create_topics().start("a")
    stage.feed()
    stage.wait_for_more(500)
    _lose_the_folder(stage, worker)


def _lose_the_folder(stage: Stage, worker: ForkedWorker) -> None:
    began = time.monotonic()
    worker.kill()
    shutil.rmtree(worker.state)
    worker.start()
    stage.wait_until_caught_up(began)


@case("RocksDB files corrupted while the worker was away")
def files_corrupted(stage: Stage) -> None:
    (worker,) = stage.create_topics().start("a")
    stage.feed()
    stage.wait_for_more(1000)
    assert worker.terminate() == 0  # flushes RocksDB, so that all its records are in files
    began = time.monotonic()
    for file in worker.state.glob("partition-*/*.sst"):
        raw = bytearray(file.read_bytes())
        raw[20] ^= 0xFF  # in the first block: the file opens, but reading the block fails its checksum
        file.write_bytes(raw)
    worker.start()
    with stage.supervised(worker) as starts:
        stage.wait_until_caught_up(began)
    stage.notes["starts"] = str(1 + len(starts))
    assert worker.log_text().count("it is rebuilt from Kafka") == stage.partitions


@case("changelog compacted, and the state folder lost")
def changelog_compacted(stage: Stage) -> None:
    (worker,) = stage.create_topics().start("a")
    changelog = f"{stage.topics.prefix}-windows-changelog"
    alter(
        stage,
        changelog,
        {"segment.ms": "500", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "1000"},
    )
    stage.feed()
    stage.wait_for_more(1500)
    stage.stop_feeding()
    wait_for(
        lambda: 2 * _records(stage, changelog) < _ends(stage, changelog),
        "compaction by the broker",
        timeout_s=60,
    )
    stage.notes["changelog"] = f"{_records(stage, changelog)} records left of {_ends(stage, changelog)}"
    stage.feed(source=inputs(seed=8))
    stage.wait_for_more(200)
    _lose_the_folder(stage, worker)


def _consumer(stage: Stage) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": stage.topics.bootstrap_servers,
            "group.id": stage.topics.group("compaction"),
            "enable.partition.eof": True,
        }
    )


def _ends(stage: Stage, topic: str) -> int:
    """Return the sum of a topic's end offsets."""
    consumer = _consumer(stage)
    ends = [
        consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
        for number in range(stage.partitions)
    ]
    consumer.close()
    return sum(ends)


def _records(stage: Stage, topic: str) -> int:
    """Return the number of records in a topic."""
    consumer = _consumer(stage)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(stage.partitions)])
    count, ended = 0, set[int | None]()
    while len(ended) < stage.partitions:
        for message in consumer.consume(10_000, 1.0):
            if message.error() is None:
                count += 1
            else:
                ended.add(message.partition())
    consumer.close()
    return count


@case("disk full under the state folder")
def disk_full(stage: Stage) -> None:
    stage.create_topics()
    worker = stage.worker("a")
    (disk := worker.state).mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", disk],
        capture_output=True,
        text=True,
    )
    assert mounted.returncode == 0, (
        f"cannot mount a small file system: {mounted.stderr.strip()}. `make faults` needs its own mount namespace, "
        "which this system does not allow"
    )
    try:
        _fill_and_make_room(stage, worker)
    finally:
        worker.kill()
        subprocess.run(["umount", disk], check=True)


def _fill_and_make_room(stage: Stage, worker: ForkedWorker) -> None:
    worker.start().wait_until_ready()
    stage.feed()
    stage.wait_for_more(300)
    filler = worker.state / "filler"
    began = time.monotonic()
    _fill(filler)
    wait_for(lambda: not worker.runs, "the end of the worker", timeout_s=_ENDS_WITHIN_S)
    assert worker.wait() == 1
    assert worker.page("/readyz")[0] != 200
    assert "No space left" in worker.log_text().splitlines()[-1], worker.log_text()[-500:]

    worker.start()  # the disk is still full
    assert worker.wait(_ENDS_WITHIN_S) == 1
    assert "No space left" in worker.log_text().splitlines()[-1], worker.log_text()[-500:]

    filler.unlink()
    worker.start()
    stage.wait_until_caught_up(began)
    # Keep the store for the audit: its file system is unmounted at the end of the case.
    stage.stop_feeding()
    wait_for(lambda: stage.answers.read() >= stage.due(), "all answers", timeout_s=60)
    assert worker.terminate() == 0
    shutil.copytree(worker.state, kept := Path(f"{worker.state}-kept"))
    worker.state = kept


def _fill(file: Path) -> None:
    """Fill the file system with one file."""
    try:
        with file.open("wb", buffering=0) as filler:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        filler.write(b"\0" * size)
                except OSError:
                    continue
    except OSError:
        pass
