"""Encoding by column gives the same bytes as encoding record by record."""

import pyarrow as pa
import pytest

from schemas.columns import ColumnWriter, cut
from schemas.errors import ContractError
from schemas.records import BehaviorEvent, InfluenceScore, Outcome
from schemas.wire import Codec


def test_columns_and_constants_encode_like_records() -> None:
    codec = Codec(Outcome)
    columns = [
        pa.array(["e1", "é" * 100]),
        pa.scalar("u"),
        pa.array([0.0, 1.0]),
        pa.array([-(2**63), 2**63 - 1]),
        pa.array([None, 0.5], pa.float64()),
    ]
    assert ColumnWriter(Outcome, codec.prepare_write()).write(columns) == codec.encode_batch(
        [Outcome("e1", "u", 0.0, -(2**63)), Outcome("é" * 100, "u", 1.0, 2**63 - 1, 0.5)]
    )


def test_cut_respects_the_offset_of_a_slice() -> None:
    assert cut(pa.array(["a", "bc", "", "d"]).slice(1)) == [b"bc", b"", b"d"]
    assert cut(pa.array([], pa.string())) == []


def test_a_map_column_is_one_mapping_or_one_per_row() -> None:
    codec = Codec(BehaviorEvent)
    writer = ColumnWriter(BehaviorEvent, codec.prepare_write())
    head = [pa.array(["e1", "e2"]), pa.scalar("u"), pa.scalar("view"), pa.scalar(5)]
    head += [pa.scalar(""), pa.scalar(""), pa.scalar(None, pa.float64()), pa.scalar("")]
    events = [BehaviorEvent("e1", "u", "view", 5, attributes={"a": "b"}), BehaviorEvent("e2", "u", "view", 5)]
    assert writer.write([*head, [{"a": "b"}, {}]]) == codec.encode_batch(events)
    assert writer.write([*head, {"a": "b"}])[0] == codec.encode(events[0])


def test_a_record_type_with_other_fields_is_refused() -> None:
    with pytest.raises(ContractError, match="cannot be written by column"):
        ColumnWriter(InfluenceScore, b"")
