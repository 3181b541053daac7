"""Examples out of a file, for `sway evaluate`.

Columns: target, y and occurred_at (milliseconds); and if you have them history, z, user_id and item_id.
"""

import math
from pathlib import Path
from typing import Any

from sway.errors import CommandError
from sway.loading.files import Row, open_rows
from trainer.dataset import Example

_NEEDED = ("target", "y", "occurred_at")


def read_examples(path: Path) -> list[Example]:
    """Read all examples of a .parquet, .csv or .jsonl file, in its order.

    Raises CommandError with the line of the first row that does not fit, or if there is none.
    """
    examples = [_example(path, row) for row in open_rows(path).rows()]
    if not examples:
        raise CommandError(f"{path} holds no examples")
    return examples


def _example(path: Path, row: Row) -> Example:
    if row.problem:
        raise CommandError(f"{path}, line {row.line}: {row.problem}")
    values = row.values
    missing = [name for name in _NEEDED if values.get(name) in (None, "")]
    if missing:
        raise CommandError(
            f"{path}, line {row.line}: no {', '.join(missing)}; needed are {', '.join(_NEEDED)}"
        )
    try:
        return Example(
            history=str(values.get("history") or ""),
            target=str(values["target"]),
            y=_label(values["y"]),
            z=None if values.get("z") in (None, "") else _label(values["z"]),
            occurred_at=int(values["occurred_at"]),
            user_id=str(values.get("user_id") or ""),
            item_id=str(values.get("item_id") or ""),
        )
    except (ValueError, TypeError):
        raise CommandError(
            f"{path}, line {row.line}: y and z must be numbers from 0 to 1, occurred_at whole milliseconds"
        ) from None


def _label(value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and 0 <= number <= 1):
        raise ValueError(number)
    return number
