"""Construction of dead letters from source records that could not be processed."""

import hashlib

from schemas.records import DeadLetter

MAX_RAW_BYTES = 65_536
# A detail may contain the name of a foreign schema, which can be as long as the schema itself.
MAX_DETAIL_CHARS = 1_000


def dead_letter(
    *,
    reason: str,
    detail: str,
    topic: str,
    partition: int,
    offset: int,
    timestamp: int,
    key: bytes | None,
    value: bytes | None,
    failed_at: int,
) -> DeadLetter:
    """Return the dead letter of a source record, with at most 64 KiB each of its value and key.

    reason: a stable code, from DecodeError.reason or schemas.validate.
    detail: a sentence that never contains a user's text; cut after 1,000 characters.
    timestamp, failed_at: the record's Kafka timestamp and the worker's time, in ms since 1970-01-01T00:00:00Z.
    raw_length and raw_sha256 describe the whole value; raw_length is -1 for a null value.
    """
    return DeadLetter(
        reason=reason,
        detail=detail[:MAX_DETAIL_CHARS],
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=timestamp,
        raw=(value or b"")[:MAX_RAW_BYTES],
        raw_length=-1 if value is None else len(value),
        raw_sha256=hashlib.sha256(value or b"").hexdigest(),
        failed_at=failed_at,
        key=None if key is None else key[:MAX_RAW_BYTES],
    )
