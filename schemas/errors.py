"""Exceptions of the schemas package.

SchemaError
├── DecodeError               a record cannot be decoded: dead-lettered, never retried
│   ├── EmptyValueError         "empty"
│   ├── BadMagicError           "bad_magic"
│   ├── UnknownSchemaError      "unknown_schema"
│   ├── WrongRecordError        "wrong_record"
│   ├── IncompatibleSchemaError "incompatible_schema"
│   ├── TooLargeError           "too_large"
│   ├── TruncatedError          "truncated"
│   ├── TrailingBytesError      "trailing_bytes"
│   └── UndecodableError        "undecodable"
├── EncodeError               a record does not fit its schema: a bug in Sway
├── ContractError             a schema file or the configuration is invalid: found at start-up
└── RegistryUnavailable       the Schema Registry did not answer: retriable, no record is lost
"""

from typing import ClassVar


class SchemaError(Exception):
    """Base class of all exceptions of this package."""


class DecodeError(SchemaError):
    """The record cannot be decoded; a retry does not help.

    reason: stable code for dead letters and the metric's label, one per class.
    str(error): a sentence for a human reader; it never contains the record's contents.
    """

    reason: ClassVar[str] = "undecodable"


class EmptyValueError(DecodeError):
    """The value is null or has no bytes."""

    reason = "empty"


class BadMagicError(DecodeError):
    """The value starts with the magic bytes of neither wire format."""

    reason = "bad_magic"


class UnknownSchemaError(DecodeError):
    """The schema id or fingerprint is unknown; schema names it, such as "schema id 7"."""

    reason = "unknown_schema"

    def __init__(self, message: str, *, schema: str = "an unknown schema") -> None:
        super().__init__(message)
        self.schema = schema


class WrongRecordError(DecodeError):
    """The schema is known but describes another record than the topic's."""

    reason = "wrong_record"


class IncompatibleSchemaError(DecodeError):
    """The writer schema cannot be resolved against the reader schema, or is rejected as unsafe."""

    reason = "incompatible_schema"


class TooLargeError(DecodeError):
    """The value has more bytes, or a collection more items, than allowed."""

    reason = "too_large"


class TruncatedError(DecodeError):
    """The value ends before the record does."""

    reason = "truncated"


class TrailingBytesError(DecodeError):
    """The record ends before the value does."""

    reason = "trailing_bytes"


class UndecodableError(DecodeError):
    """The value is not valid Avro: a negative length, text that is not UTF-8, an unknown union branch."""

    reason = "undecodable"


class EncodeError(SchemaError):
    """The record does not fit its schema."""


class ContractError(SchemaError):
    """A schema file, a record class or a codec's configuration is invalid."""


class RegistryUnavailable(SchemaError):  # noqa: N818 a state of the registry, not of the record
    """The Schema Registry did not answer, or gave no definite answer: retriable.

    The caller pauses the partition and retries; no record is dead-lettered for it.
    """
