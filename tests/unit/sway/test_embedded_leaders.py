"""The partition in which Kafka stores a group or a transactional id."""

import pytest

from tests.support.leaders import coordinator_partition, java_hash


@pytest.mark.parametrize(
    ("text", "java"),
    [
        ("", 0),
        ("hello", 99_162_322),
        ("polygenelubricants", -(2**31)),
        ("\N{GRINNING FACE}", 31 * 0xD83D + 0xDE00),  # two UTF-16 units
    ],
)
def test_the_hash_matches_java(text: str, java: int) -> None:
    assert java_hash(text) == java


def test_the_smallest_hash_maps_to_partition_0() -> None:
    assert coordinator_partition("polygenelubricants", 50) == 0


def test_a_negative_hash_maps_by_its_absolute_value() -> None:
    assert java_hash("sway-trainer") < 0 or java_hash("sway-scorer-b") < 0
    for name in ("sway-trainer", "sway-scorer-b", "hello"):
        assert coordinator_partition(name, 7) == abs(java_hash(name)) % 7
