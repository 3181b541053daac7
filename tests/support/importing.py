"""Shared by the tests of `sway import`: logs in all formats, and an import into memory."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.records import BehaviorEvent
from schemas.wire import Codec
from sway.errors import CommandError
from sway.load.importer import Importer, check_files
from sway.load.log_files import RowPosition, find_files, parse_position
from sway.load.mapping import parse
from sway.load.targets import EVENTS, OUTCOMES, Target

NOW_S = 1_700_000_000.0
NOW_MS = 1_700_000_000_000


class Memory:
    """Accepts records as Kafka does. max_bytes: the largest value accepted."""

    def __init__(self, max_bytes: int = 1_000_000) -> None:
        self.sent: list[tuple[bytes, bytes, int]] = []
        self.marks: list[RowPosition] = []
        self._max_bytes = max_bytes

    def send_all(
        self, keys: Sequence[bytes], values: Sequence[bytes], times_ms: Sequence[int], mark: Any, /
    ) -> int:
        self.marks.append(mark)
        for index, sent in enumerate(zip(keys, values, times_ms, strict=True)):
            if len(sent[1]) > self._max_bytes:
                return index
            self.sent.append(sent)
        return len(keys)

    def records(self, record_type: type[Any] = BehaviorEvent) -> list[Any]:
        return Codec(record_type).decode_batch(value for _, value, _ in self.sent)


class Run:
    """One import into memory. told: the problems reported for skipped rows. error: the one that stopped it, or ""."""

    def __init__(
        self,
        source: Path,
        *,
        maps: Sequence[str] = (),
        sets: Sequence[str] = (),
        attributes: str | None = None,
        target: Target = EVENTS,
        stop: bool = False,
        start: str | None = None,
        memory: Memory | None = None,
        **settings: Any,
    ) -> None:
        self.memory = memory or Memory()
        self.told: list[str] = []
        self.error = ""
        self._stop = stop
        record_type: type[Any] = target.record_type
        files = find_files(source)
        self.checked = check_files(files, parse(record_type, maps, sets, attributes))
        self.importer = Importer(target, Codec(record_type), clock=lambda: NOW_S, **settings)
        place = parse_position(start, files) if start else None
        try:
            self.importer.load(self.checked, self.memory, self._tell, lambda _: None, place)
        except CommandError as exc:
            self.error = str(exc)
        self.records = self.memory.records(record_type)

    def _tell(self, place: RowPosition, problem: str) -> None:
        if self._stop:
            raise CommandError(f"{place}: {problem}")
        self.told.append(f"{place}: {problem}")


def write_log(path: Path, rows: Sequence[dict[str, Any]], schema: Any = None) -> Path:
    """Write rows in the format of the path's extension; all rows have the columns of the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows), schema), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


__all__ = ["EVENTS", "NOW_MS", "NOW_S", "OUTCOMES", "Memory", "Run", "write_log"]
