"""Findings about topics, partitioners and keys, without a broker."""

import pytest

from schemas.errors import DecodeError, UnknownSchemaError
from stream.settings import TopicSettings
from sway.doctor.findings import Status
from sway.doctor.keys import (
    SampledRecord,
    check_keys,
    check_partitioner,
    crc32_partition,
)
from sway.doctor.topics import (
    NeededTopics,
    Replication,
    check_cleanup_policies,
    check_replication,
    check_times,
    check_topics,
    needed_topics,
)
from sway.partitioner import murmur2_partition

NEEDED = needed_topics(TopicSettings(), "shop", ["windows"])
ALL = dict.fromkeys((*NEEDED.inputs, *NEEDED.outputs, *NEEDED.later), 4)
KEYS = [f"u{number}".encode() for number in range(40)]


def records(partition_of: object, partitions: int) -> list[SampledRecord]:
    assert callable(partition_of)
    return [SampledRecord(partition_of(key, partitions), key=key, value=None) for key in KEYS]


def test_the_needed_topics_match_the_worker() -> None:
    assert (
        NeededTopics(
            inputs=("sway.events", "sway.outcomes"),
            outputs=("sway.scores", "sway.dead-letters"),
            changelogs=("shop-windows-changelog",),
            later=(
                "sway.scores.shadow",
                "sway.examples",
                "sway.training",
                "sway.models",
                "sway.recommendation-requests",
                "sway.recommendations",
            ),
        )
        == NEEDED
    )


def test_matching_topics_are_ok_with_or_without_a_changelog() -> None:
    (first,) = check_topics(NEEDED, ALL)
    assert first.status is Status.OK
    assert "the first worker creates shop-windows-changelog" in first.found
    (later,) = check_topics(NEEDED, {**ALL, "shop-windows-changelog": 4})
    assert later.status is Status.OK
    assert "have 4 partitions, shop-windows-changelog too" in later.found


def test_missing_topics_fail_if_a_worker_needs_them() -> None:
    fail, warn = check_topics(NEEDED, {"sway.events": 4})
    assert (fail.status, warn.status) == (Status.FAIL, Status.WARN)
    assert fail.found == "missing: sway.outcomes, sway.scores, sway.dead-letters"
    assert "sway topics create" in fail.advice
    assert "sway.training" in warn.found


def test_inputs_with_different_partition_counts_fail() -> None:
    (finding,) = check_topics(NEEDED, {**ALL, "sway.outcomes": 6})
    assert finding.status is Status.FAIL
    assert "sway.events has 4, sway.outcomes has 6" in finding.found


def test_a_changelog_with_another_partition_count_fails() -> None:
    (finding,) = check_topics(NEEDED, {**ALL, "shop-windows-changelog": 2})
    assert finding.status is Status.FAIL
    assert "shop-windows-changelog has 2 partitions, but the inputs have 4" in finding.found
    assert "SWAY_APP_ID" in finding.advice


def test_a_changelog_must_only_be_compacted() -> None:
    assert check_cleanup_policies({"a": "compact"}) == []
    (finding,) = check_cleanup_policies({"a": "compact", "b": "delete"})
    assert finding.found.startswith("b has cleanup.policy=delete")


def test_partitioners_match_java_and_librdkafka() -> None:
    # Kafka's own UtilsTest: murmur2("21") = -973932308; zlib's CRC-32 of "123456789" is its check value
    assert murmur2_partition(b"21", 7) == (-973932308 & 0x7FFFFFFF) % 7
    assert crc32_partition(b"123456789", 1000) == 0xCBF43926 % 1000


def test_the_expected_partitioner_is_ok() -> None:
    finding = check_partitioner("events", records(murmur2_partition, 4), 4)
    assert finding.status is Status.OK
    assert "all 40 sampled keys" in finding.found


def test_librdkafkas_default_partitioner_is_recognised() -> None:
    finding = check_partitioner("events", records(crc32_partition, 4), 4)
    assert finding.status is Status.FAIL
    assert "they match librdkafka's default, CRC32" in finding.found
    assert "partitioner=murmur2_random" in finding.advice


def test_an_unknown_partitioner_fails_without_a_guess() -> None:
    finding = check_partitioner("events", records(lambda key, count: len(key) % count, 4), 4)
    assert finding.status is Status.FAIL
    assert "CRC32" not in finding.found


def test_the_partitioner_is_unchecked_without_keys_or_with_one_partition() -> None:
    without_key = SampledRecord(partition=0, key=None, value=b"x")
    assert check_partitioner("events", [without_key], 4).status is Status.WARN
    assert check_partitioner("events", records(crc32_partition, 1), 1).status is Status.OK


@pytest.mark.parametrize(
    ("keys", "user_ids", "status"),
    [
        ([b"a", b"b"], ["a", "b"], Status.OK),
        ([b"a", b"b", b"x"], ["a", "b", "c"], Status.WARN),
        ([b"a", None], ["a", "b"], Status.FAIL),
        ([b"a", b"b"], ["a", UnknownSchemaError("?")], Status.WARN),
    ],
)
def test_keys_are_compared_with_the_user_ids(
    keys: list[bytes | None], user_ids: list[str | DecodeError], status: Status
) -> None:
    found = check_keys("events", [SampledRecord(partition=0, key=key, value=b"v") for key in keys], user_ids)
    assert found[0].status is status


def test_an_empty_sample_gives_no_finding_about_keys() -> None:
    assert check_keys("events", [], []) == []


def test_sufficient_replication_is_ok() -> None:
    kept = {
        "sway.events": Replication(replicas=1, min_isr=1),
        "shop-windows-changelog": Replication(replicas=1, min_isr=1),
    }
    assert check_replication(NEEDED, kept, 1) == []
    kept = {
        "sway.events": Replication(replicas=3, min_isr=2),
        "shop-windows-changelog": Replication(replicas=3, min_isr=2),
    }
    assert check_replication(NEEDED, kept, 5) == []


def test_fewer_changelog_replicas_than_input_replicas_is_a_warning() -> None:
    kept = {
        "sway.events": Replication(replicas=5, min_isr=2),
        "shop-windows-changelog": Replication(replicas=3, min_isr=2),
    }
    (found,) = check_replication(NEEDED, kept, 5)
    assert found.status is Status.WARN
    assert "shop-windows-changelog has 3 replicas, but the inputs have 5" in found.found
    assert "kafka-reassign-partitions.sh" in found.advice


def test_inputs_with_one_replica_on_three_brokers_are_a_warning() -> None:
    (found,) = check_replication(NEEDED, {"sway.events": Replication(replicas=1, min_isr=1)}, 3)
    assert (found.status, "sway.events has 1 replica, but the cluster has 3 brokers" in found.found) == (
        Status.WARN,
        True,
    )


def test_three_replicas_with_one_acknowledgement_are_a_warning() -> None:
    (found,) = check_replication(NEEDED, {"sway.events": Replication(replicas=3, min_isr=1)}, 3)
    assert (found.status, "min.insync.replicas=1" in found.found) == (Status.WARN, True)


def test_more_in_sync_replicas_than_replicas_fail() -> None:
    (found,) = check_replication(NEEDED, {"sway.events": Replication(replicas=1, min_isr=2)}, 1)
    assert (found.status, "nothing can be written" in found.found) == (Status.FAIL, True)


def test_inputs_without_a_timestamp_limit_are_a_warning() -> None:
    (found,) = check_times(["sway.events"], 3600)
    assert found.status is Status.WARN
    assert "message.timestamp.after.max.ms=3600000 on sway.events" in found.advice
    assert check_times([], 3600) == []
