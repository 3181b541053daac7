"""Encoding and decoding of records in two wire formats.

single_object  0xC3 0x01, the schema's CRC-64-AVRO fingerprint (8 bytes, little-endian), the record
confluent      0x00, the schema's id in a Schema Registry (4 bytes, big-endian), the record

Both formats are always readable; the format to write is configured. A reader is prepared once per header,
so a record costs one look-up of its header and the decoding itself.
Source: Avro specification, "Single-object encoding"; Confluent Schema Registry, "Wire format".
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from schemas.contracts import current, fingerprint
from schemas.errors import (
    BadMagicError,
    ContractError,
    DecodeError,
    EmptyValueError,
    IncompatibleSchemaError,
    TooLargeError,
    TruncatedError,
    UnknownSchemaError,
    WrongRecordError,
)
from schemas.evolve import prepare_evolved_reader
from schemas.plan import plan
from schemas.read import prepare_reader
from schemas.records import Record
from schemas.resolvers import LocalResolver, Resolver
from schemas.write import prepare_writer

R = TypeVar("R", bound=Record)
R_contra = TypeVar("R_contra", bound=Record, contravariant=True)
E = TypeVar("E", bound=DecodeError)
WireFormat: TypeAlias = Literal["single_object", "confluent"]

MAX_RECORD_BYTES = 4 * 1_048_576
"""Maximum length of a value. Kafka's default is 1 MiB; a producer must be configured to send more."""

SINGLE_OBJECT_MAGIC = b"\xc3\x01"
SINGLE_OBJECT_HEADER_BYTES = 10
CONFLUENT_MAGIC = b"\x00"
CONFLUENT_HEADER_BYTES = 5


def header_of(value: bytes) -> bytes | None:
    """Return the header of a value, or None if the value has neither format's magic bytes or is too short."""
    if value[:1] == CONFLUENT_MAGIC:
        size = CONFLUENT_HEADER_BYTES
    elif value[:2] == SINGLE_OBJECT_MAGIC:
        size = SINGLE_OBJECT_HEADER_BYTES
    else:
        return None
    return value[:size] if len(value) >= size else None


def asks_registry(headers: Iterable[bytes]) -> bool:
    """Return whether resolving these headers sends a request to the Schema Registry and may block the event loop."""
    return any(header[:1] == CONFLUENT_MAGIC for header in headers)


def single_object_header(record_type: type[Any]) -> bytes:
    """Return the header of a value of this record written in its current schema."""
    return SINGLE_OBJECT_MAGIC + fingerprint(current(record_type))


class Encoder(Protocol[R_contra]):
    """The writing part of Codec."""

    def encode(self, record: R_contra) -> bytes:
        """Return a record's encoded value."""
        ...

    def encode_batch(self, records: Sequence[R_contra]) -> list[bytes]:
        """Return one encoded value per record, in order."""
        ...


class Codec(Generic[R]):
    """Encoder and decoder of one record type. Not thread-safe.

    resolver: looks up writer schemas. LocalResolver by default; schemas.registry.RegistryResolver also reads the
    confluent format.
    write: the format to write; confluent needs a resolver with a registry, and a subject ("<topic>-value").
    max_record_bytes: longer values are rejected before they are decoded.
    Raises ContractError if the arguments are inconsistent.
    """

    def __init__(
        self,
        record_type: type[R],
        *,
        resolver: Resolver | None = None,
        write: WireFormat = "single_object",
        subject: str | None = None,
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        if write not in ("single_object", "confluent"):
            raise ContractError(f"The wire format is {write!r}; single_object and confluent are allowed.")
        if write == "confluent" and not subject:
            raise ContractError(f"Writing {record_type.__name__} in Confluent's format needs a subject.")
        self.record_type = record_type
        self._resolver = resolver or LocalResolver()
        self._subject = subject
        self._max_record_bytes = max_record_bytes
        self._schema = current(record_type)
        self._fingerprint = fingerprint(self._schema)
        self._plan = plan(self._schema)
        self._readers: dict[bytes, Callable[[bytes], R]] = {}
        self._refused: dict[bytes, UnknownSchemaError] = {}
        self._write_body = prepare_writer(self._plan)
        self._header = None if write == "confluent" else single_object_header(record_type)

    def decode(self, value: bytes | None, *, ask: bool = True) -> R:
        """Decode a value in either format.

        Waits for the network only when a schema id occurs for the first time, and never with ask=False: an id
        that `resolve` did not find is then unknown.
        Raises a subclass of DecodeError, or RegistryUnavailable.
        """
        if not value:
            raise EmptyValueError("The value is null or empty.")
        if len(value) > self._max_record_bytes:
            raise TooLargeError(
                f"The value has {len(value)} bytes; at most {self._max_record_bytes} are allowed."
            )
        reader = self._readers.get(value[:10] if value[0] == 0xC3 else value[:5])
        if reader is None:
            reader = self._prepare(value, ask=ask)
        return reader(value)

    def decode_batch(self, values: Iterable[bytes | None], *, ask: bool = True) -> list[R | DecodeError]:
        """Decode values; return one result per value, in order: the record, or the error. ask: see decode.

        Raises RegistryUnavailable for the batch as a whole: pause and pass the same batch again.
        """
        decode = self.decode
        results: list[R | DecodeError] = []
        append = results.append
        for value in values:
            try:
                append(decode(value, ask=ask))
            except DecodeError as error:
                append(_without_frames(error))
        return results

    def unresolved(self, values: Sequence[bytes | None]) -> set[bytes]:
        """Return the headers of these values whose schemas are not resolved yet; pass them to `resolve`."""
        new = {value[:10] if value[0] == 0xC3 else value[:5] for value in values if value}
        new -= self._readers.keys()
        if new:
            small = (value for value in values if value and len(value) <= self._max_record_bytes)
            new &= {header for value in small if (header := header_of(value)) is not None}
        return new

    def resolve(self, headers: Iterable[bytes]) -> dict[bytes, UnknownSchemaError]:
        """Resolve the schemas of these headers; return the headers with unknown schemas and their errors.

        Waits for the network if a header contains a schema id (asks_registry). Raises RegistryUnavailable.
        """
        refused: dict[bytes, UnknownSchemaError] = {}
        for header in headers:
            try:
                self._prepare(header, ask=True)
            except UnknownSchemaError as error:
                refused[header] = _without_frames(error)
        self._refused = refused
        return refused

    def encode(self, record: R) -> bytes:
        """Encode a record in the configured format and its current schema.

        Raises EncodeError if the record does not fit the schema. The first call in Confluent's format also raises
        the errors of prepare_write.
        """
        return (self._header or self.prepare_write()) + self._write_body(record)

    def encode_batch(self, records: Sequence[R]) -> list[bytes]:
        """Return one encoded value per record, in order. Raises the same errors as encode."""
        header, write = self._header or self.prepare_write(), self._write_body
        return [header + write(record) for record in records]

    def prepare_write(self) -> bytes:
        """Look up and return the header to write; call it at start-up to detect a missing registration early.

        Raises ContractError if the schema is not registered under the subject, or RegistryUnavailable.
        """
        if self._header is None:
            schema_id = self._resolver.id_of(self._subject or "", self.record_type)
            self._header = CONFLUENT_MAGIC + schema_id.to_bytes(4, "big")
        return self._header

    def _prepare(self, value: bytes, *, ask: bool) -> Callable[[bytes], R]:
        if value[:1] == CONFLUENT_MAGIC:
            size = CONFLUENT_HEADER_BYTES
        elif value[:2] == SINGLE_OBJECT_MAGIC:
            size = SINGLE_OBJECT_HEADER_BYTES
        else:
            raise BadMagicError(
                f"The value starts with 0x{value[:2].hex()}; 0xc301 (single object) or 0x00 (Confluent) is allowed."
            )
        header = value[:size]
        if len(header) < size:
            raise TruncatedError(f"The value has {len(value)} bytes; the header alone has {size}.")
        reader = self._reader(header, ask=ask)
        self._readers[header] = reader
        return reader

    def _reader(self, header: bytes, *, ask: bool) -> Callable[[bytes], R]:
        start = len(header)
        if start == CONFLUENT_HEADER_BYTES and not ask:
            raise self._refused.get(header) or UnknownSchemaError("The schema id of the value was not found.")
        try:
            if start == CONFLUENT_HEADER_BYTES:
                writer = self._resolver.by_id(int.from_bytes(header[1:], "big"))
            else:
                writer = self._resolver.by_fingerprint(header[2:])
            if _fingerprint_or_none(writer) == self._fingerprint:
                return prepare_reader(self._plan, start)
            return prepare_evolved_reader(self._plan, self._schema, writer, start)
        except (IncompatibleSchemaError, WrongRecordError) as error:
            return _refusing(error)


def _fingerprint_or_none(writer: Any) -> bytes | None:
    try:
        return fingerprint(writer)
    # A foreign schema: preparing its reader reports what is wrong with it.
    except Exception:
        return None


def _refusing(error: DecodeError) -> Callable[[bytes], Any]:
    # A schema never changes under its id, so this error is cached. UnknownSchemaError is not: ids are added.
    kind, message = type(error), str(error)

    def refuse(_value: bytes) -> Any:
        raise kind(message)

    return refuse


def _without_frames(error: E) -> E:
    # Results outlive the batch: frames and causes would keep all its values in memory.
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
