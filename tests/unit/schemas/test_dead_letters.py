"""A dead letter holds the coordinates, a bounded prefix of the value, and the length and hash of the whole value."""

import hashlib

import pytest

from schemas.dead_letters import MAX_DETAIL_CHARS, MAX_RAW_BYTES, dead_letter
from schemas.records import DeadLetter
from schemas.wire import Codec


def letter(
    value: bytes | None, key: bytes | None = b"u", detail: str = "The value starts with 0x7b22."
) -> DeadLetter:
    return dead_letter(
        reason="bad_magic",
        detail=detail,
        topic="sway.events",
        partition=3,
        offset=17,
        timestamp=1_000,
        key=key,
        value=value,
        failed_at=2_000,
    )


@pytest.mark.parametrize("value", [b"", b"\xff\x00", b"x" * MAX_RAW_BYTES])
def test_a_short_value_is_kept_whole(value: bytes) -> None:
    made = letter(value)
    assert (made.raw, made.raw_length, made.key) == (value, len(value), b"u")
    assert made.raw_sha256 == hashlib.sha256(value).hexdigest()
    assert (made.topic, made.partition, made.offset) == ("sway.events", 3, 17)


def test_a_long_value_is_cut_but_hashed_as_a_whole() -> None:
    value = b"x" * 1_048_576
    made = letter(value, key=value)
    assert made.raw == value[:MAX_RAW_BYTES]
    assert made.key == value[:MAX_RAW_BYTES]
    assert made.raw_length == len(value)
    assert made.raw_sha256 == hashlib.sha256(value).hexdigest()
    assert len(Codec(DeadLetter).encode(made)) < 200_000


def test_a_long_detail_is_cut() -> None:
    made = letter(b"x", detail="n" * 1_048_576)
    assert made.detail == "n" * MAX_DETAIL_CHARS


def test_a_null_value_differs_from_an_empty_one() -> None:
    assert letter(None, key=None).raw_length == -1
    assert letter(b"").raw_length == 0
    assert letter(None, key=None).key is None
