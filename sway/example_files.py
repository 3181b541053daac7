"""Examples out of files and into them, for `sway train` and `sway evaluate`.

Columns: target, y and occurred_at (milliseconds since 1970, or ISO-8601); and if you have them z, user_id, item_id and
the past: history, as an example on sway.examples has it, or behaviours, a list of objects with action, item_text,
value, y and z, oldest first (in a .csv file as JSON), which are put into words here. For the late reading: snapshot, as
an example on sway.examples has it, bytes (in .csv and .jsonl files in base64), and labeled_at, from when on the label
is known, as occurred_at has it; left out, from then on.
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
from sway.loading.files import Row, open_rows
from trainer.dataset import Example

_NEEDED = ("target", "y", "occurred_at")


@dataclass(slots=True)
class _Past:
    """A past behaviour of a file."""

    action: str
    item_text: str = ""
    value: float | None = None
    y: float | None = None
    z: float | None = None


def read_examples(path: Path, tokenizer: Callable[[], BehaviourTokenizer] | None = None) -> list[Example]:
    """Read all examples of a .parquet, .csv or .jsonl file, in its order.

    tokenizer: gives what puts behaviours into words; asked only for files that have that column.
    Raises CommandError with the line of the first row that does not fit, or if there is none.
    """
    examples = [_example(path, row, tokenizer) for row in open_rows(path).rows()]
    if not examples:
        raise CommandError(f"{path} holds no examples")
    return examples


def write_examples(path: Path, examples: Sequence[Example]) -> Path:
    """Write a .parquet file that read_examples reads back as the same examples; returns its path."""
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
            f"{path}, line {row.line}: no {', '.join(missing)}; needed are {', '.join(_NEEDED)}"
        )
    try:
        history = str(values.get("history") or "") or _in_words(values.get("behaviours"), tokenizer)
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
            "milliseconds or ISO-8601, behaviours a list of objects with action, item_text, value, y and z, snapshot "
            "bytes or base64 as sway.examples has it"
        ) from None


def _snapshot(value: Any) -> bytes | None:
    """Return an encoded snapshot that can be read. Raises ValueError."""
    if value in (None, "", b""):
        return None
    raw = value if isinstance(value, bytes) else base64.b64decode(str(value), validate=True)
    Snapshot.decode(raw)
    return raw


def _in_words(behaviours: Any, tokenizer: Callable[[], BehaviourTokenizer] | None) -> str:
    """Put past behaviours into words, with the user's rate; more than the text holds is cut, the oldest first."""
    if behaviours in (None, "", []):
        return ""
    if tokenizer is None:
        raise CommandError("behaviours need a model's way of reading: give histories, or name a version")
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
