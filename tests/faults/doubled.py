"""Locate all copies of a duplicate record: their batches, producers, epochs and transaction markers.

Kafka's DumpLogSegments reads the brokers' log folders. The dumps of the topics and of the two internal topics are kept
as files beside a summary, since the brokers are removed with their case.
"""

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from sway.embedded.artifacts import ArtifactCache
from sway.embedded.runtime import KafkaRuntime

Where = tuple[str, int, int]
LogFolder = Callable[[str, int], Path]
"""The folder of a partition's segments, on the broker that leads it."""

_SHOWN = 5
_TIMEOUT_S = 120.0
_BATCH = re.compile(r"baseOffset: (\d+) lastOffset: (\d+) .*producerId: (-?\d+) .*isControl: (true|false)")
_MARKER = re.compile(r"endTxnMarker: (\w+)")
_DECODERS = {
    "__consumer_offsets": "--offsets-decoder",
    "__transaction_state": "--transaction-log-decoder",
}


def keep_doubled(
    places: Mapping[Where, Sequence[Where]],
    internal: Sequence[tuple[str, int]],
    log_folder: LogFolder,
    folder: Path,
) -> Path:
    """Write a summary of duplicate answers, and the dumps, to a folder; return the summary's path.

    places: the coordinates of all answers, by the answered record. internal: partitions of internal topics to dump.
    """
    folder.mkdir(parents=True, exist_ok=True)
    doubled = {where: found for where, found in places.items() if len(found) > 1}
    shown = dict(sorted(doubled.items())[:_SHOWN])
    wanted = {(topic, partition) for found in shown.values() for topic, partition, _offset in found}
    dumps = {
        (topic, partition): _dump(topic, log_folder(topic, partition), folder)
        for topic, partition in [*sorted(wanted), *internal]
    }
    lines = [f"{len(doubled)} records were answered more than once"]
    for where, found in shown.items():
        lines.append(f"{where[0]}[{where[1]}]@{where[2]} was answered at")
        for topic, partition, offset in found:
            lines.append(f"  {topic}[{partition}]@{offset}")
            lines += [f"    {line}" for line in story(dumps[topic, partition], offset)]
    summary = folder / "doubled.txt"
    summary.write_text("\n".join(lines) + "\n", "utf-8")
    return summary


def story(dump: str, offset: int) -> Iterator[str]:
    """Yield the batch that contains an offset, the marker that ends its transaction, and its producer's marker before.

    dump: the output of DumpLogSegments with --print-data-log.
    """
    batches = _batches(dump)
    held = next((batch for batch in batches if batch.first <= offset <= batch.last), None)
    if held is None:
        yield "no batch contains it any more"
        return
    markers = [batch for batch in batches if batch.producer == held.producer and batch.marker]
    before = [batch for batch in markers if batch.last < held.first][-1:]
    after = [batch for batch in markers if batch.first > held.last][:1]
    for batch in [*before, held, *after]:
        yield f"{batch.marker or 'records'}: {batch.line}"
    if not after:
        yield "no marker of its producer follows"


class _Batch:
    """A batch in the output of DumpLogSegments. marker: COMMIT or ABORT for a control batch, else ""."""

    def __init__(self, line: str, found: re.Match[str]) -> None:
        self.line = line
        self.first, self.last, self.producer = int(found[1]), int(found[2]), int(found[3])
        self.marker = ""


def _batches(dump: str) -> list[_Batch]:
    batches: list[_Batch] = []
    for line in dump.splitlines():
        if found := _BATCH.search(line):
            batches.append(_Batch(line.strip(), found))
        elif batches and (found := _MARKER.search(line)):
            batches[-1].marker = found[1]
    return batches


def _dump(topic: str, log_folder: Path, folder: Path) -> str:
    """Return the dump of a partition, which is also written to a file."""
    segments = ",".join(str(path) for path in sorted(log_folder.glob("*.log")))
    main = ["kafka.tools.DumpLogSegments", "--files", segments, "--print-data-log"]
    if topic in _DECODERS:
        main.append(_DECODERS[topic])
    command = KafkaRuntime.prepare(ArtifactCache()).command(256, [], main)
    done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    (folder / f"{log_folder.name}.txt").write_text(output, "utf-8")
    return output
