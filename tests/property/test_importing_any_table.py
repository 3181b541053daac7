"""Any table gives the same records in every file format, and by columns as row by row."""

from decimal import Context, Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import ColumnWriter
from schemas.records import BehaviorEvent, Outcome
from schemas.wire import Codec
from sway.files.batches import Batch
from sway.load.convert import Converter, DoesNotFitError
from sway.load.encode import Encoded, encode
from sway.load.mapping import parse, resolve
from sway.load.row_by_row import RowByRow
from sway.load.targets import EVENTS, OUTCOMES, Target
from tests.support.importing import NOW_MS, Run, write_log

# CSV keeps line ends within texts, but few other formats treat a lone carriage return as one.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=20)
TIME = st.integers(0, NOW_MS)
ROW_NAMES = ("user_id", "action", "occurred_at", "item_text", "value", "page")
ROW = st.fixed_dictionaries(
    {
        "user_id": TEXT,
        "action": TEXT,
        "occurred_at": TIME,
        "item_text": TEXT,
        "value": st.none() | st.floats(width=64),
        "page": TEXT,
    }
)
KINDS: dict[str, pa.DataType] = dict.fromkeys(ROW_NAMES, pa.string())
KINDS |= {"occurred_at": pa.int64(), "value": pa.float64()}
SCHEMA = pa.schema(KINDS)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=8))
def test_every_format_gives_the_same_records(rows: list[dict[str, Any]]) -> None:
    found = []
    for name in ("a.parquet", "a.csv", "a.jsonl"):
        with TemporaryDirectory() as folder:
            run = Run(write_log(Path(folder) / name, rows, SCHEMA), sets=["event_id=e"], attributes="page")
            assert run.error == ""
            found.append((run.records, [problem.split(": ", 1)[1] for problem in run.told]))
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert len(found[0][0]) + len(found[0][1]) == len(rows)


TIMES = [
    "2023-01-01",
    "2023-01-01T00:00:00.1239Z",
    "2023-01-01T05:06:07+02:00",
    "20230101",
    "1969-12-31T23:59:59.9999",
]
KIND = st.sampled_from(
    [
        st.text(max_size=5),
        st.sampled_from(["1", "1.5", " 2", "nan", "1e400", "-1", "0", "+3", "007", "", "1_0", "0x10", "0X1"]),
        st.sampled_from(TIMES),
        st.sampled_from(["\u3000", "\x1c", "\u2003\t", "x" * 513, "é" * 257, "é" * 256, "y"]),
        st.integers(-(2**64), 2**64),
        st.integers(-2000, 2000),
        st.integers(0, 1),
        st.floats(),
        st.integers(0, 2000).map(float),
        st.booleans(),
        st.floats(0, 1) | st.booleans(),
        st.integers(0, 2000).map(float) | st.booleans(),
        st.none(),
        st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
    ]
)
LISTED = KIND.flatmap(lambda kind: st.lists(kind | st.none() | kind | kind, min_size=2, max_size=2))
DECIMALS = st.sampled_from(
    [
        pa.decimal128(20, 0),
        pa.decimal128(10, 2),
        pa.decimal128(38, 20),
        pa.decimal128(9, -3),
        pa.decimal256(76, 5),
    ]
)
OTHERS = st.sampled_from(
    [
        *(pa.time32("s"), pa.time64("us"), pa.time64("ns"), pa.duration("ms"), pa.duration("ns")),
        *(pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.date32(), pa.date64()),
        *(pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_()),
        *(pa.string(), pa.large_string(), pa.binary()),
    ]
)


def decimals(kind: Any) -> st.SearchStrategy[Any]:
    """Draw two values of a decimal type: any, of few digits, or whole."""
    few = st.integers(0, 99_999)
    whole = few.map(lambda number: int(Decimal(number % 2000).scaleb(max(kind.scale, 0))))
    digits = st.integers(1 - 10**kind.precision, 10**kind.precision - 1) | few | whole | whole
    context = Context(prec=kind.precision)
    values = digits.map(lambda number: Decimal(number).scaleb(-kind.scale, context)) | st.none()
    return st.lists(values, min_size=2, max_size=2).map(lambda pair: pa.array(pair, kind))


def small_numbers(kind: Any) -> st.SearchStrategy[Any]:
    """Draw two small whole numbers in one of Arrow's types."""
    through: dict[Any, Any] = {pa.time32("s"): pa.int32(), pa.date32(): pa.int32(), pa.binary(): pa.string()}
    numbers = st.lists(st.integers(0, 100) | st.none(), min_size=2, max_size=2)
    return numbers.map(lambda pair: pa.array(pair, pa.int64()).cast(through.get(kind, pa.int64())).cast(kind))


TYPED = DECIMALS.flatmap(decimals) | OTHERS.flatmap(small_numbers)
MIXED = st.permutations([1.5, True]) | st.permutations([5.0, True]) | st.just(["0x10", "0X1"])
COLUMN = LISTED | TYPED | TYPED.map(lambda values: values.dictionary_encode())
FITS: dict[str, list[Any]] = {
    "event_id": ["e1", "e2"],
    "user_id": [7, 8],
    "action": ["a", "b"],
    "y": [0, 0.5],
    "occurred_at": [5, 6],
    "observed_at": ["2023-01-01"] * 2,
}


UNIT = st.sampled_from(["s", "ms", "us", "ns"])
TARGET = st.sampled_from([EVENTS, OUTCOMES])


@settings(max_examples=500, deadline=None)
@given(
    st.dictionaries(st.sampled_from(BehaviorEvent.__slots__ + Outcome.__slots__), COLUMN, max_size=2),
    UNIT,
    TARGET,
)
def test_column_conversion_matches_row_by_row(columns: dict[str, Any], unit: str, target: Target) -> None:
    fast, slow = both_ways(columns, unit, target)
    assert fast in (None, slow)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["value", "occurred_at"]), TYPED | MIXED, UNIT)
def test_typed_times_and_numbers_match_row_by_row(field: str, values: Any, unit: str) -> None:
    fast, slow = both_ways({field: values}, unit, EVENTS)
    assert fast in (None, slow)


@settings(max_examples=100, deadline=None)
@given(DECIMALS.flatmap(decimals))
def test_column_conversion_reads_decimals_as_the_nearest_floats(values: Any) -> None:
    fast, slow = both_ways({"value": values}, "ms", EVENTS)
    assert fast == slow
    decoded: list[Any] = Codec(BehaviorEvent).decode_batch(slow.values)
    floats = [None if value is None else float(value) for value in values.to_pylist()]
    assert [event.value for event in decoded] == floats


def both_ways(columns: dict[str, Any], unit: str, target: Target) -> tuple[Encoded | None, Encoded]:
    """Convert a batch by columns, None if a value does not fit, and row by row."""
    record_type: type[Any] = target.record_type
    codec: Codec[Any] = Codec(record_type)
    names = record_type.__slots__
    sources = resolve(parse(record_type, [], [], None), "f", names)
    batch = Batch({name: columns.get(name, FITS.get(name, [None, None])) for name in names}, [4, 5], 0)
    slow = RowByRow(target, codec, sources, "f", unit).encode(batch, NOW_MS)
    try:
        converted = Converter(record_type, sources, "f", unit).convert(batch, NOW_MS)
    except DoesNotFitError:
        return None, slow
    writer = ColumnWriter(record_type, codec.prepare_write())
    time_field = "occurred_at" if target is EVENTS else "observed_at"
    return encode(writer, converted, batch.lines, time_field, []), slow


EVENT = st.builds(
    BehaviorEvent,
    *[TEXT] * 3,
    st.integers(-(2**63), 2**63 - 1),
    TEXT,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    st.none() | st.floats(),
    TEXT,
    st.dictionaries(TEXT, TEXT, max_size=3),
)


@given(st.lists(EVENT, min_size=1))
def test_event_columns_encode_like_records(events: list[BehaviorEvent]) -> None:
    kinds = [pa.string()] * 3 + [pa.int64()] + [pa.string()] * 2 + [pa.float64(), pa.string(), None]
    columns = [
        [getattr(event, name) for event in events]
        if kind is None
        else pa.array([getattr(event, name) for event in events], kind)
        for name, kind in zip(BehaviorEvent.__slots__, kinds, strict=True)
    ]
    codec = Codec(BehaviorEvent)
    assert ColumnWriter(BehaviorEvent, codec.prepare_write()).write(columns) == codec.encode_batch(events)


@given(st.lists(st.tuples(TEXT, st.floats(), st.none() | st.floats()), min_size=1))
def test_outcome_columns_encode_like_records(rows: list[tuple[str, float, float | None]]) -> None:
    codec = Codec(Outcome)
    columns = [pa.array([row[0] for row in rows], pa.string()), pa.scalar("u")]
    columns += [pa.array([row[1] for row in rows], pa.float64()), pa.scalar(5)]
    columns += [pa.array([row[2] for row in rows], pa.float64())]
    outcomes = [Outcome(row[0], "u", row[1], 5, row[2]) for row in rows]
    assert ColumnWriter(Outcome, codec.prepare_write()).write(columns) == codec.encode_batch(outcomes)
