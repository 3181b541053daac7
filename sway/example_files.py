"""Reading and writing of example files, for `sway train` and `sway evaluate`.

Required columns: target, y and occurred_at (milliseconds since 1970, or ISO-8601).

Optional columns: z, user_id, item_id and the past. The past is either history, in the format of sway.examples, or
behaviours: a list of objects with action, item_text, value, y and z, oldest first (as JSON in a .csv file), from which
the history is generated.

For the late reading: snapshot, in the format of sway.examples, as bytes (base64 in .csv and .jsonl files); and
labeled_at, the time when the label became known, in the format of occurred_at, which is its default.
"""

import base64
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.features.snapshot import Snapshot
from model.tokens import BehaviourTokenizer
from model.words import count_habits
from sway.errors import CommandError
from sway.files.opening import open_rows
from sway.files.rows import Row
from trainer.dataset import Example

_NEEDED = ("target", "y", "occurred_at")


@dataclass(slots=True)
class _Past:
    """A past behaviour in the `behaviours` column."""

    action: str
    item_text: str = ""
    value: float | None = None
    y: float | None = None
    z: float | None = None


def read_examples(path: Path, tokenizer: Callable[[], BehaviourTokenizer] | None = None) -> list[Example]:
    """Read all examples of a .parquet, .csv or .jsonl file, in file order.

    tokenizer: returns the tokenizer that generates histories; called only for files with a behaviours column.
    Raises CommandError with the line of the first invalid row, or if the file has no rows.
    """
    examples = [_example(path, row, tokenizer) for row in open_rows(path).rows()]
    if not examples:
        raise CommandError(f"{path} contains no examples")
    return examples


def write_examples(path: Path, examples: Sequence[Example]) -> Path:
    """Write a .parquet file that read_examples reads as the same examples; return its path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: dict[str, pa.DataType] = dict.fromkeys(("history", "target", "user_id", "item_id"), pa.string())
    types |= {"y": pa.float64(), "z": pa.float64(), "occurred_at": pa.int64(), "snapshot": pa.binary()}
    types["labeled_at"] = pa.int64()
    schema = pa.schema(types)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(example) for example in examples]
    pq.write_table(pa.Table.from_pylist(rows, schema), path, compression="zstd")
    return path


def _example(path: Path, row: Row, tokenizer: Callable[[], BehaviourTokenizer] | None) -> Example:
    if row.problem:
        raise CommandError(f"{path}, line {row.line}: {row.problem}")
    values = row.values
    missing = [name for name in _NEEDED if values.get(name) in (None, "")]
    if missing:
        raise CommandError(
            f"{path}, line {row.line}: no {', '.join(missing)}; required are {', '.join(_NEEDED)}"
        )
    try:
        history = str(values.get("history") or "") or _history(values.get("behaviours"), tokenizer)
        return Example(
            history=history,
            target=str(values["target"]),
            y=_label(values["y"]),
            z=None if values.get("z") in (None, "") else _label(values["z"]),
            occurred_at=_time_ms(values["occurred_at"]),
            user_id=str(values.get("user_id") or ""),
            item_id=str(values.get("item_id") or ""),
            snapshot=_snapshot(values.get("snapshot")),
            labeled_at=None if values.get("labeled_at") in (None, "") else _time_ms(values["labeled_at"]),
        )
    except (ValueError, TypeError, AttributeError):
        raise CommandError(
            f"{path}, line {row.line}: y and z must be numbers from 0 to 1, occurred_at and labeled_at whole "
            "milliseconds or ISO-8601, behaviours a list of objects with action, item_text, value, y and z, and "
            "snapshot bytes or base64 in the format of sway.examples"
        ) from None


def _snapshot(value: Any) -> bytes | None:
    """Return a valid encoded snapshot, or None for an empty value. Raises ValueError."""
    if value in (None, "", b""):
        return None
    raw = value if isinstance(value, bytes) else base64.b64decode(str(value), validate=True)
    Snapshot.decode(raw)
    return raw


def _history(behaviours: Any, tokenizer: Callable[[], BehaviourTokenizer] | None) -> str:
    """Return the history of past behaviours, with the user's rate, truncated from the oldest."""
    if behaviours in (None, "", []):
        return ""
    if tokenizer is None:
        raise CommandError("behaviours need a model's tokenizer: give histories, or name a version")
    listed = json.loads(behaviours) if isinstance(behaviours, str) else behaviours
    past = [_Past(**{name: value for name, value in one.items() if value is not None}) for one in listed]
    reader = tokenizer()
    rates = reader.rates(count_habits(one.y for one in past))
    return reader.behaviour_text(reader.pieces(past), reader.words([""])[0], rates)[0]


def _time_ms(value: Any) -> int:
    if isinstance(value, datetime):
        return round((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)
    text = str(value)
    if text.lstrip("-").isdigit():
        return int(text)
    return _time_ms(datetime.fromisoformat(text))


def _label(value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and 0 <= number <= 1):
        raise ValueError(number)
    return number
