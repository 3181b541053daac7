"""Avro binary encoding by column: the same bytes as schemas.write in a tenth of the time per record.

Supports records whose fields are strings, longs, doubles, optional doubles and maps of strings. Performs no
checks beyond Arrow's types: a string is UTF-8, a long has 64 bits.

Source: Avro specification, "Binary encoding".
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from pyarrow import compute

from schemas.contracts import current
from schemas.errors import ContractError
from schemas.plan import DOUBLE, LONG, MAP, OPTIONAL, STRING, Step, plan
from schemas.write import prepare_map_writer

Column: TypeAlias = Any
"""An Arrow array of N values, or an Arrow scalar shared by all records; for a map, N mappings or one."""

# Typed as Any: the stubs reject mixed array and scalar arguments, which the functions accept.
pc: Any = compute
_GROUP_BITS = np.uint64(7)
_GROUP = np.uint64(0x7F)
_MORE = np.uint8(0x80)


class ColumnWriter:
    """Writer of one record type from columns, given in the order of the record's fields.

    header: prefix of every value, as returned by Codec.prepare_write.
    Raises ContractError if the record has a field of an unsupported type.
    """

    def __init__(self, record_type: type[Any], header: bytes) -> None:
        self._header = pa.scalar(header, pa.binary())
        self._steps = plan(current(record_type)).steps
        unknown = [step for step in self._steps if _shape(step) not in _WRITERS]
        if unknown:
            raise ContractError(f"{record_type.__name__} has fields that cannot be written by column.")

    def write(self, columns: Sequence[Column]) -> list[bytes]:
        """Return N encoded values, one per record, in order.

        columns: one per field: strings (utf8), times (int64) or doubles (float64). Only optional doubles may
        contain nulls. At least one column is an array.
        """
        parts = [self._header]
        for step, column in zip(self._steps, columns, strict=True):
            parts += _written(step, column)
        return cut(pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.binary())))


def cut(array: Any) -> list[bytes]:
    """Return the values of a binary or utf8 array without nulls as bytes, five times as fast as Arrow's `to_pylist`."""
    _, ends, data = array.buffers()
    offsets = np.frombuffer(ends, np.int32, len(array) + 1, array.offset * 4).tolist()
    whole = data.to_pybytes() if data is not None else b""
    return [whole[start:end] for start, end in pairwise(offsets)]


def _shape(step: Step) -> tuple[int, int | None]:
    kind, inner = step
    return kind, inner[0] if kind in (OPTIONAL, MAP) else None


def _written(step: Step, column: Column) -> list[Any]:
    write = _WRITERS[_shape(step)]
    if isinstance(column, pa.Scalar):
        return [part[0] for part in write(pa.array([column.as_py()], column.type))]
    if isinstance(column, dict):
        return [part[0] for part in write([column])]
    return write(column)


def _strings(column: Column) -> list[Any]:
    lengths = np.asarray(pc.binary_length(column)).astype(np.int64)
    return [_varints(lengths), column.cast(pa.binary())]


def _longs(column: Column) -> list[Any]:
    return [_varints(np.asarray(column))]


def _doubles(column: Column) -> list[Any]:
    return [_ragged(_double_bytes(column), np.full(len(column), 8))]


def _optional_doubles(column: Column) -> list[Any]:
    there = np.asarray(column.is_valid())
    matrix = np.empty((len(column), 9), np.uint8)
    matrix[:, 0] = np.where(there, 2, 0)
    matrix[:, 1:] = _double_bytes(column.fill_null(0.0))
    return [_ragged(matrix, np.where(there, 9, 1))]


def _maps(column: Column) -> list[Any]:
    write = prepare_map_writer()
    return [pa.array([write(entries) for entries in column], pa.binary())]


def _double_bytes(column: Column) -> Any:
    return np.ascontiguousarray(np.asarray(column), "<f8").view(np.uint8).reshape(-1, 8)


def _varints(values: Any) -> Any:
    """Encode int64 (N,) as zigzag varints: 7-bit groups, lowest first; all but the last have the top bit set."""
    zigzag = ((values << 1) ^ (values >> 63)).view(np.uint64)
    widest = max(1, -(-int(zigzag.max(initial=0)).bit_length() // 7))
    matrix = np.empty((len(values), widest), np.uint8)
    lengths = np.ones(len(values), np.int64)
    for index in range(widest):
        rest = zigzag >> _GROUP_BITS
        matrix[:, index] = zigzag & _GROUP
        if index < widest - 1:
            goes_on = rest > 0
            matrix[goes_on, index] |= _MORE
            lengths += goes_on
        zigzag = rest
    return _ragged(matrix, lengths)


def _ragged(matrix: Any, lengths: Any) -> Any:
    """Return a binary array of the first lengths[n] bytes of each row n of matrix, uint8 (N, k)."""
    rows, width = matrix.shape
    ends = np.zeros(rows + 1, np.int32)
    np.cumsum(lengths, out=ends[1:])
    whole = int(ends[-1]) == rows * width
    data = matrix.reshape(-1) if whole else matrix[np.arange(width) < lengths[:, None]]
    return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(ends.data), pa.py_buffer(data.data)])


_WRITERS = {
    (STRING, None): _strings,
    (LONG, None): _longs,
    (DOUBLE, None): _doubles,
    (OPTIONAL, DOUBLE): _optional_doubles,
    (MAP, STRING): _maps,
}
