"""Decoding of values whose record type is known only from their header."""

from typing import Any

from schemas.contracts import name_of
from schemas.errors import BadMagicError, EmptyValueError, WrongRecordError
from schemas.records import RECORD_TYPES, Record
from schemas.wire import (
    CONFLUENT_HEADER_BYTES,
    CONFLUENT_MAGIC,
    SINGLE_OBJECT_HEADER_BYTES,
    SINGLE_OBJECT_MAGIC,
    Codec,
)
from stream.settings import WireSettings
from stream.wire import resolver_for

_TYPES = {record_type.__name__: record_type for record_type in RECORD_TYPES}


class AnyRecordDecoder:
    """Decodes any of Sway's records, by the schema id or fingerprint in the value's header."""

    def __init__(self, wire: WireSettings) -> None:
        self._wire = wire
        self._resolver = resolver_for(wire)
        self._codecs: dict[str, Codec[Any]] = {}

    def decode(self, value: bytes | None) -> Record:
        """Return the record. Raises a subclass of DecodeError, or RegistryUnavailable."""
        if not value:
            raise EmptyValueError("The value is null or empty.")
        name = name_of(self._writer_schema(value))
        if name not in _TYPES:
            raise WrongRecordError(
                f"The value is a {name or 'nameless value'}, which is not a record of Sway."
            )
        if name not in self._codecs:
            self._codecs[name] = Codec(
                _TYPES[name], resolver=self._resolver, max_record_bytes=self._wire.max_record_bytes
            )
        record: Record = self._codecs[name].decode(value)
        return record

    def _writer_schema(self, value: bytes) -> Any:
        if value[:2] == SINGLE_OBJECT_MAGIC:
            return self._resolver.by_fingerprint(value[2:SINGLE_OBJECT_HEADER_BYTES])
        if value[:1] == CONFLUENT_MAGIC:
            return self._resolver.by_id(int.from_bytes(value[1:CONFLUENT_HEADER_BYTES], "big"))
        raise BadMagicError("The value has the header of neither wire format.")
