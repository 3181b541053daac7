"""Reading of values written with another version of a schema, through fastavro.

Follows Avro's schema resolution: a field missing in the writer schema takes the reader's default, a field
missing in the reader schema is skipped, a renamed field is found by its alias, and numbers are widened.
Costs about four times as much as schemas.read.
Source: Avro specification, "Schema Resolution".
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any, TypeAlias

from fastavro import schemaless_reader
from fastavro.read import SchemaResolutionError

from schemas.contracts import Schema, name_of, parsed
from schemas.convert import prepare_builder
from schemas.errors import (
    DecodeError,
    IncompatibleSchemaError,
    TrailingBytesError,
    TruncatedError,
    UndecodableError,
    WrongRecordError,
)
from schemas.plan import ARRAY, INT, MAP, OPTIONAL, RECORD, RecordPlan, Step
from schemas.read import MAX_ENTRIES, MAX_ITEMS, check_items
from schemas.safety import check_writer

Check: TypeAlias = Callable[[Any], None]


def prepare_evolved_reader(
    record_plan: RecordPlan, ours: Schema, writer: Schema, start: int
) -> Callable[[bytes], Any]:
    """Return a function that decodes the single record between byte start and the end of a value.

    Raises WrongRecordError if the writer schema describes another record, IncompatibleSchemaError if it is
    invalid or unsafe. The returned function raises only subclasses of DecodeError.
    """
    _check_name(ours, writer)
    writer_parsed, ours_parsed = _parse(writer), parsed(ours)
    check_writer(writer_parsed)
    build = prepare_builder(record_plan)
    check = _check_of((RECORD, record_plan)) or (lambda _fields: None)

    def read(data: bytes) -> Any:
        # fastavro does not check that the bytes it skips exist. An extra byte detects this: a read or skip
        # past the end consumes it.
        stream = BytesIO(data[start:] + b"\x00")
        try:
            fields: Any = schemaless_reader(stream, writer_parsed, ours_parsed)
            check(fields)
            record = build(fields)
        except DecodeError:
            raise
        # Untrusted bytes and a foreign schema: fastavro does not document what it raises.
        except Exception as exc:
            raise _mapped(exc, record_plan.name) from None
        _check_end(record_plan.name, stream.tell(), len(data) - start)
        return record

    return read


def _check_of(step: Step) -> Check | None:
    """Return the checks of schemas.read that fastavro lacks: item counts and 32-bit ints. None if there are none."""
    kind, inner = step
    if kind == INT:
        return _check_int
    if kind == RECORD:
        checks = [
            (name, check)
            for name, field in zip(inner.names, inner.steps, strict=True)
            if (check := _check_of(field)) is not None
        ]
        return _check_fields(checks) if checks else None
    if kind in {ARRAY, MAP}:
        return _check_collection(MAX_ENTRIES if kind == MAP else MAX_ITEMS, _check_of(inner))
    check = _check_of(inner) if kind == OPTIONAL else None
    return None if check is None else lambda value: None if value is None else check(value)


def _check_int(value: int) -> None:
    if not -(2**31) <= value < 2**31:
        raise UndecodableError("An int has more than 32 bits.")


def _check_fields(checks: list[tuple[str, Check]]) -> Check:
    def check_fields(fields: Any) -> None:
        for name, check in checks:
            check(fields[name])

    return check_fields


def _check_collection(most: int, check: Check | None) -> Check:
    def check_collection(items: Any) -> None:
        check_items(len(items), most)
        if check is not None:
            for item in items.values() if isinstance(items, dict) else items:
                check(item)

    return check_collection


def _check_name(ours: Schema, writer: Schema) -> None:
    allowed = {name_of(ours), *(alias.rpartition(".")[2] for alias in ours.get("aliases", []))}
    if name_of(writer) not in allowed:
        raise WrongRecordError(
            f"The value is a {name_of(writer) or 'value without a record name'}; expected {name_of(ours)}."
        )


def _parse(writer: Schema) -> Schema:
    try:
        return parsed(writer)
    # A foreign schema: fastavro raises KeyError and others if it is invalid.
    except Exception as exc:
        raise IncompatibleSchemaError(f"The writer schema is not valid Avro: {type(exc).__name__}.") from exc


def _check_end(name: str, end: int, size: int) -> None:
    if end > size:
        raise TruncatedError(f"{name} is incomplete: the value ends after {size} bytes.")
    if end < size:
        raise TrailingBytesError(f"{name} ends at byte {end}, but the value has {size} bytes.")


def _mapped(error: Exception, name: str) -> DecodeError:
    # Only type names: the messages of these errors may contain a user's text.
    if isinstance(error, SchemaResolutionError):
        return IncompatibleSchemaError(f"The writer schema of {name} is incompatible with the reader schema.")
    if isinstance(error, EOFError):
        return TruncatedError(f"{name} is incomplete.")
    return UndecodableError(f"{name} cannot be decoded: {type(error).__name__}.")
