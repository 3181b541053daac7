"""Whether records are where Sway looks for them: key = user_id, partition = murmur2 of the key. Pure."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiokafka.partitioner import murmur2

from schemas.errors import DecodeError
from stream.settings import PARTITIONER
from sway.doctor.findings import Finding, fail, ok, warn

_POSITIVE = 0x7FFFFFFF  # Java takes the sign away by a mask


@dataclass(frozen=True, slots=True)
class SampledRecord:
    """A record as it lies in the topic."""

    partition: int
    key: bytes | None
    value: bytes | None


def murmur2_partition(key: bytes, partitions: int) -> int:
    """Return where Java's, Faust's and librdkafka's murmur2 partitioners put a key."""
    return int(murmur2(key) & _POSITIVE) % partitions


def crc32_partition(key: bytes, partitions: int) -> int:
    """Return where librdkafka's default partitioner (consistent_random) puts a key."""
    return zlib.crc32(key) % partitions


def check_partitioner(topic: str, records: Sequence[SampledRecord], partitions: int) -> Finding:
    """Say whether the keyed records of a sample are in the partition of their key's murmur2."""
    check = f"partitioner of {topic}"
    keyed = [(record.key, record.partition) for record in records if record.key is not None]
    if not keyed:
        return warn(check, "no record with a key to look at yet", "produce some and run this again")
    if partitions == 1:
        return ok(check, "one partition: there is nothing to get wrong")
    wrong = _misplaced(keyed, partitions, murmur2_partition)
    if not wrong:
        return ok(check, f"murmur2 puts all {len(keyed)} sampled keys where they are")
    theirs = (
        "; librdkafka's default, CRC32, explains all of them"
        if not _misplaced(keyed, partitions, crc32_partition)
        else ""
    )
    return fail(
        check,
        f"{wrong} of {len(keyed)} sampled records are not in the partition of their key's murmur2{theirs}. One user's "
        "records would be in several partitions, each with a part of the window",
        f"set partitioner={PARTITIONER} in the producers that use librdkafka (confluent-kafka and others); Java's "
        "default is right. If partitions were added later, use a new prefix",
    )


def check_keys(
    topic: str, records: Sequence[SampledRecord], user_ids: Sequence[str | DecodeError]
) -> list[Finding]:
    """Say whether each record's key is its user_id, and how many cannot be decoded.

    user_ids: of each record, or why it has none.
    """
    check = f"keys of {topic}"
    findings = []
    bad = [user_id for user_id in user_ids if isinstance(user_id, DecodeError)]
    if bad:
        reasons = ", ".join(sorted({error.reason for error in bad}))
        findings.append(
            warn(
                check,
                f"{len(bad)} of {len(records)} sampled records cannot be decoded ({reasons}): dead letters",
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
                f"{wrong} of {len(read)} sampled records have a key that is not their user_id: dead letters "
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
