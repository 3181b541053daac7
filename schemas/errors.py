"""Everything that schemas raises.

SchemaError
├── DecodeError               one record cannot be read: a dead letter, never a retry
│   ├── EmptyValueError         "empty"
│   ├── BadMagicError           "bad_magic"
│   ├── UnknownSchemaError      "unknown_schema"
│   ├── WrongRecordError        "wrong_record"
│   ├── IncompatibleSchemaError "incompatible_schema"
│   ├── TooLargeError           "too_large"
│   ├── TruncatedError          "truncated"
│   ├── TrailingBytesError      "trailing_bytes"
│   └── UndecodableError        "undecodable"
├── EncodeError               our own record does not fit its schema: a bug of ours
├── ContractError             a schema file or a configuration is wrong: found when starting
└── RegistryUnavailable       the Schema Registry did not answer: wait and try again, lose nothing
"""

from typing import ClassVar


class SchemaError(Exception):
    """Root of the tree."""


class DecodeError(SchemaError):
    """A record that cannot be read, now or later.

    reason: stable code for dead letters and the metric's label, one per class.
    str(error): a sentence for a person; it never holds the record's contents.
    """

    reason: ClassVar[str] = "undecodable"


class EmptyValueError(DecodeError):
    """The value is null or has no bytes."""

    reason = "empty"


class BadMagicError(DecodeError):
    """The value starts like neither wire format."""

    reason = "bad_magic"


class UnknownSchemaError(DecodeError):
    """Nobody knows the schema id or fingerprint: schema names it, such as "schema id 7"."""

    reason = "unknown_schema"

    def __init__(self, message: str, *, schema: str = "an unknown schema") -> None:
        super().__init__(message)
        self.schema = schema


class WrongRecordError(DecodeError):
    """A schema that is known, but of another record than this topic holds."""

    reason = "wrong_record"


class IncompatibleSchemaError(DecodeError):
    """A writer schema that cannot be resolved against ours, or is refused as unsafe."""

    reason = "incompatible_schema"


class TooLargeError(DecodeError):
    """More bytes or items than the limit."""

    reason = "too_large"


class TruncatedError(DecodeError):
    """The value ends before the record does."""

    reason = "truncated"


class TrailingBytesError(DecodeError):
    """The record ends before the value does."""

    reason = "trailing_bytes"


class UndecodableError(DecodeError):
    """What Avro does not allow: a negative length, text that is not UTF-8, a branch that is not there."""

    reason = "undecodable"


class EncodeError(SchemaError):
    """A record of ours that its schema cannot hold."""


class ContractError(SchemaError):
    """A schema file, a record class or a codec's configuration that is wrong."""


class RegistryUnavailable(SchemaError):  # noqa: N818 a state of the world, not of the record
    """The Schema Registry did not answer, or not with a verdict: retriable.

    The caller pauses and tries again; a record is never dead-lettered for it.
    """
