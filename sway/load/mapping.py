"""The mapping from columns and constants to the fields of a record."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from schemas.records import BehaviorEvent
from sway.errors import CommandError
from sway.load.rows import RowError, RowReader

_ATTRIBUTES = "attributes"
_MADE = "event_id"


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """The requested mapping: columns and constants by field, and the columns to collect in attributes."""

    record_type: type[Any]
    columns: Mapping[str, str]
    constants: Mapping[str, str]
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of the fields of one file.

    columns: the file's column by field. constants: the constant by field, as text. attributes: the columns that are
    collected in the field attributes. makes_ids: whether event_id is derived from the file name and line number.
    """

    columns: Mapping[str, str]
    constants: Mapping[str, str]
    attributes: tuple[str, ...]
    makes_ids: bool

    def columns_to_read(self) -> list[str]:
        """Return the distinct columns to read from the file."""
        return list(dict.fromkeys([*self.columns.values(), *self.attributes]))

    def describe(self, present: Collection[str]) -> dict[str, str]:
        """Return a description of the source of each field; present: the columns of the file."""
        texts = {field: f"column {column}" for field, column in self.columns.items() if column in present}
        texts |= {field: f"constant {value!r}" for field, value in self.constants.items()}
        if self.attributes:
            texts[_ATTRIBUTES] = f"columns {', '.join(self.attributes)}"
        if self.makes_ids:
            texts[_MADE] = "file name and line number"
        return texts


def parse(
    record_type: type[Any], maps: Sequence[str], sets: Sequence[str], attributes: str | None
) -> FieldMapping:
    """Parse the options `--map`, `--set` and `--attributes`.

    Raises CommandError if an option is malformed, names an unknown field, names a field twice, or gives a value that is
    invalid for the field.
    """
    columns, constants = _pairs("--map", maps, "COLUMN"), _pairs("--set", sets, "VALUE")
    names = [field.name for field in fields(record_type)]
    collected = tuple(part for part in (attributes or "").split(",") if part)
    if collected and record_type is not BehaviorEvent:
        raise CommandError(f"{record_type.__name__} has no attributes: remove --attributes")
    taken = [*columns, *constants, *([_ATTRIBUTES] if collected else [])]
    for field in taken:
        if field not in names:
            raise CommandError(
                f"no field of {record_type.__name__} is named {field}; its fields are {', '.join(names)}"
            )
        if taken.count(field) > 1:
            raise CommandError(f"{field} is given twice: give it once with --map, --set or --attributes")
    try:
        RowReader(record_type).convert(constants)
    except RowError as exc:
        raise CommandError(f"invalid --set: {exc}") from None
    return FieldMapping(record_type, columns, constants, collected)


def resolve(wanted: FieldMapping, file: str, columns: Collection[str], *, complete: bool = True) -> Sources:
    """Return the sources for a file with these columns: the requested ones, else the column named like the field.

    complete: False if later rows may have further columns, as in JSONL; optional fields are then looked up in every
    row. Raises CommandError with the missing and the existing columns.
    """
    required = RowReader(wanted.record_type).required
    names = [field.name for field in fields(wanted.record_type)]
    present = set(columns)
    if not complete:
        present.update(wanted.columns.get(name, name) for name in names if name not in required)
        present.update(wanted.attributes)
    given = {*wanted.columns, *wanted.constants, *([_ATTRIBUTES] if wanted.attributes else [])}
    found = {**wanted.columns, **{name: name for name in names if name in present and name not in given}}
    makes_ids = _MADE not in found and _MADE not in wanted.constants
    have = {*found, *given, *([_MADE] if makes_ids else [])}
    missing = sorted(required - have)
    absent = [name for name in (*found.values(), *wanted.attributes) if name not in present]
    if missing or absent:
        raise CommandError(_mismatch(file, missing, absent, columns))
    return Sources(found, wanted.constants, wanted.attributes, makes_ids)


def _mismatch(file: str, missing: Sequence[str], absent: Sequence[str], columns: Collection[str]) -> str:
    problems = [f"there is no column {', '.join(absent)}"] if absent else []
    problems += [f"there is no source for {', '.join(missing)}"] if missing else []
    return (
        f"{file}: {'; '.join(problems)}. Its columns are {', '.join(sorted(columns))}; give one with "
        "--map FIELD=COLUMN, or a constant with --set FIELD=VALUE"
    )


def _pairs(option: str, texts: Sequence[str], what: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        field, equals, value = text.partition("=")
        if not (field and equals and value):
            raise CommandError(f"invalid {option} {text!r}: give FIELD={what}, such as {option} action=kind")
        if field in pairs:
            raise CommandError(f"{field} is given twice with {option}: give it once")
        pairs[field] = value
    return pairs
