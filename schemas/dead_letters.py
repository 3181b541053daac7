"""A dead letter from a source record that could not be processed."""

import hashlib

from schemas.records import DeadLetter

MAX_RAW_BYTES = 65_536
MAX_DETAIL_CHARS = 1_000  # a sentence may name a foreign schema, and a name may be as long as its schema


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
    """The dead letter of a source record: its coordinates, and at most 64 KiB each of its value and key.

    reason: a stable code, DecodeError.reason or one of schemas.validate. detail: a sentence that never holds
    a user's text; its first 1,000 characters are kept. timestamp: Kafka's, failed_at: the worker's, both in
    milliseconds since 1970-01-01T00:00:00Z.
    The length and the SHA-256 are those of the whole value; the length of a null value is -1.
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
