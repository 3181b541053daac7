"""Which column, or which constant, each field of a record is read from. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from schemas.records import BehaviorEvent
from sway.errors import CommandError
from sway.loading.rows import RowError, RowReader

_ATTRIBUTES = "attributes"
_MADE = "event_id"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for: columns and constants by field, and the columns that become attributes."""

    record_type: type[Any]
    columns: Mapping[str, str]
    constants: Mapping[str, str]
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sources:
    """What one file's rows are read from.

    columns: by field, the file's column; constants: by field, the value of every row, as text.
    attributes: columns that become one field; makes_ids: event_id is made of the file's name and the line.
    """

    columns: Mapping[str, str]
    constants: Mapping[str, str]
    attributes: tuple[str, ...]
    makes_ids: bool

    def wanted(self) -> list[str]:
        """Return the file's columns that are read, each once."""
        return list(dict.fromkeys([*self.columns.values(), *self.attributes]))

    def described(self, there: Collection[str]) -> dict[str, str]:
        """Return for each field, in words, what it is read from, of the columns that are there."""
        told = {field: f"column {column}" for field, column in self.columns.items() if column in there}
        told |= {field: f"always {value!r}" for field, value in self.constants.items()}
        if self.attributes:
            told[_ATTRIBUTES] = f"columns {', '.join(self.attributes)}"
        if self.makes_ids:
            told[_MADE] = "made of the file's name and the line"
        return told


def parse(record_type: type[Any], maps: Sequence[str], sets: Sequence[str], attributes: str | None) -> Wanted:
    """Return what `--map`, `--set` and `--attributes` ask for.

    Raises CommandError if one is no FIELD=…, names no field, names one twice, or gives a value that the field
    cannot hold.
    """
    columns, constants = _pairs("--map", maps, "COLUMN"), _pairs("--set", sets, "VALUE")
    names = [field.name for field in fields(record_type)]
    together = tuple(part for part in (attributes or "").split(",") if part)
    if together and record_type is not BehaviorEvent:
        raise CommandError(f"{record_type.__name__} has no attributes: leave --attributes out")
    taken = [*columns, *constants, *([_ATTRIBUTES] if together else [])]
    for field in taken:
        if field not in names:
            raise CommandError(
                f"no field of {record_type.__name__} is called {field}; its fields are {', '.join(names)}"
            )
        if taken.count(field) > 1:
            raise CommandError(f"{field} is given twice: once with --map, --set or --attributes is allowed")
    try:
        RowReader(record_type).convert(constants)
    except RowError as exc:
        raise CommandError(f"--set does not fit: {exc}") from None
    return Wanted(record_type, columns, constants, together)


def resolve(wanted: Wanted, file: str, columns: Collection[str], *, complete: bool = True) -> Sources:
    """Return what a file with these columns is read from: as asked for, else the column called like the field.

    complete: False if later rows may have further columns, as in JSONL; then what a record can do without is
    looked for in every row.
    Raises CommandError naming the columns that are missing, and what there is instead.
    """
    required = RowReader(wanted.record_type).required
    names = [field.name for field in fields(wanted.record_type)]
    there = set(columns)
    if not complete:
        there.update(wanted.columns.get(name, name) for name in names if name not in required)
        there.update(wanted.attributes)
    given = {*wanted.columns, *wanted.constants, *([_ATTRIBUTES] if wanted.attributes else [])}
    found = {**wanted.columns, **{name: name for name in names if name in there and name not in given}}
    makes_ids = _MADE not in found and _MADE not in wanted.constants
    have = {*found, *given, *([_MADE] if makes_ids else [])}
    missing = sorted(required - have)
    absent = [name for name in (*found.values(), *wanted.attributes) if name not in there]
    if missing or absent:
        raise CommandError(_told(file, missing, absent, columns))
    return Sources(found, wanted.constants, wanted.attributes, makes_ids)


def _told(file: str, missing: Sequence[str], absent: Sequence[str], columns: Collection[str]) -> str:
    told = [f"there is no column {', '.join(absent)}"] if absent else []
    told += [f"nothing says what {', '.join(missing)} is read from"] if missing else []
    return (
        f"{file}: {'; '.join(told)}. Its columns are {', '.join(sorted(columns))}; name one with "
        "--map FIELD=COLUMN, or a constant with --set FIELD=VALUE"
    )


def _pairs(option: str, texts: Sequence[str], what: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        field, equals, value = text.partition("=")
        if not (field and equals and value):
            raise CommandError(f"{option} is {text!r}; it is FIELD={what}, such as {option} action=kind")
        if field in pairs:
            raise CommandError(f"{field} is given twice with {option}: once is allowed")
        pairs[field] = value
    return pairs
