"""Checks of record keys and partitions: key = user_id, partition = murmur2 of the key."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.errors import DecodeError
from stream.settings import PARTITIONER
from sway.doctor.findings import Finding, fail, ok, warn
from sway.partitioner import murmur2_partition


@dataclass(frozen=True, slots=True)
class SampledRecord:
    """The key, value and partition of a record."""

    partition: int
    key: bytes | None
    value: bytes | None


def crc32_partition(key: bytes, partitions: int) -> int:
    """Return the partition of a key under librdkafka's default partitioner (consistent_random)."""
    return zlib.crc32(key) % partitions


def check_partitioner(topic: str, records: Sequence[SampledRecord], partitions: int) -> Finding:
    """Check that the sampled records with a key are in the partition of the murmur2 partitioner."""
    check = f"partitioner of {topic}"
    keyed = [(record.key, record.partition) for record in records if record.key is not None]
    if not keyed:
        return warn(check, "no records with a key yet", "produce some and run this again")
    if partitions == 1:
        return ok(check, "the topic has one partition, so any partitioner works")
    wrong = _misplaced(keyed, partitions, murmur2_partition)
    if not wrong:
        return ok(check, f"all {len(keyed)} sampled keys are in the partition of murmur2")
    explanation = (
        "; they match librdkafka's default, CRC32"
        if not _misplaced(keyed, partitions, crc32_partition)
        else ""
    )
    return fail(
        check,
        f"{wrong} of {len(keyed)} sampled records are not in the partition of murmur2{explanation}. The records of one "
        "user would be spread over partitions, each with a part of the window",
        f"set partitioner={PARTITIONER} in producers based on librdkafka (such as confluent-kafka); Java's default is "
        "correct. If partitions were added later, use a new prefix",
    )


def check_keys(
    topic: str, records: Sequence[SampledRecord], user_ids: Sequence[str | DecodeError]
) -> list[Finding]:
    """Check that the key of each record is its user_id, and that the records can be decoded.

    user_ids: the user_id of each record, or the error of its decoding.
    """
    check = f"keys of {topic}"
    findings = []
    bad = [user_id for user_id in user_ids if isinstance(user_id, DecodeError)]
    if bad:
        reasons = ", ".join(sorted({error.reason for error in bad}))
        findings.append(
            warn(
                check,
                f"{len(bad)} of {len(records)} sampled records cannot be decoded ({reasons}) and become dead letters",
                "see docs/operations.md, dead letters",
            )
        )
    read = [
        (record.key, user_id)
        for record, user_id in zip(records, user_ids, strict=True)
        if not isinstance(user_id, DecodeError)
    ]
    wrong = sum(key != user_id.encode() for key, user_id in read)
    if wrong:
        make = fail if 2 * wrong >= len(read) else warn
        findings.append(
            make(
                check,
                f"{wrong} of {len(read)} sampled records have a key that is not their user_id, and become dead letters "
                "(key_mismatch)",
                "produce with key = user_id in UTF-8, without a key schema",
            )
        )
    elif read:
        findings.append(ok(check, f"the key is the user_id in all {len(read)} sampled records"))
    return findings


def _misplaced(
    keyed: Sequence[tuple[bytes, int]], partitions: int, partition_of: Callable[[bytes, int], int]
) -> int:
    return sum(partition_of(key, partitions) != partition for key, partition in keyed)
