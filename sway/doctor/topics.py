"""Checks of the topics: existence, partition counts, cleanup policies and replication."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.topics import TOPICS, Role, changelog_of
from stream.exactly_once.units.replication import MAX_REPLICAS, replicas_for
from stream.settings import TopicSettings
from stream.worker.input_limits import AFTER_MAX_MS
from sway.doctor.findings import Finding, fail, ok, warn

CHECK = "topics"
_MIN_ISR = 2
_CREATE = "create them with `sway topics create`"


@dataclass(frozen=True, slots=True)
class NeededTopics:
    """The topics by their role for a worker.

    inputs: topics it reads; a user must have the same partition in all of them. outputs: topics it writes.
    changelogs: the changelogs of its tables. later: topics of Sway that a worker does not need yet.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    changelogs: tuple[str, ...]
    later: tuple[str, ...]


def needed_topics(topics: TopicSettings, app_id: str, tables: Sequence[str]) -> NeededTopics:
    """Return the topics of an application with these tables; changelogs are named as by Faust."""
    inputs, outputs = (
        tuple(name for field, name in topics.names().items() if TOPICS[field].role is role)
        for role in (Role.INPUT, Role.OUTPUT)
    )
    later = tuple(name for name in topics.names().values() if name not in {*inputs, *outputs})
    changelogs = tuple(changelog_of(app_id, table) for table in tables)
    return NeededTopics(inputs, outputs, changelogs, later)


def check_topics(needed: NeededTopics, partition_counts: Mapping[str, int]) -> list[Finding]:
    """Check that the topics exist and that their partition counts match."""
    findings = [*_missing(needed, partition_counts), *_counts(needed, partition_counts)]
    return findings or [ok(CHECK, _all_well(needed, partition_counts))]


def check_cleanup_policies(policies: Mapping[str, str]) -> list[Finding]:
    """Check that changelogs are compacted: any other policy would lose the last value of a key."""
    return [
        fail(
            CHECK,
            f"{topic} has cleanup.policy={policy}: old state would be deleted, so a lost folder could not be restored",
            f"set cleanup.policy=compact on {topic}",
        )
        for topic, policy in policies.items()
        if policy != "compact"
    ]


@dataclass(frozen=True, slots=True)
class Replication:
    """The replicas of a topic and its min.insync.replicas."""

    replicas: int
    min_isr: int


def check_replication(needed: NeededTopics, found: Mapping[str, Replication], brokers: int) -> list[Finding]:
    """Check that topics stay available without one broker. found: the replication of existing topics, by name."""
    inputs = [found[topic].replicas for topic in needed.inputs if topic in found]
    wanted = replicas_for(brokers)
    for_outputs = max([wanted, *inputs])
    findings = []
    for topic, one in found.items():
        due = wanted if topic in needed.inputs else for_outputs
        if one.min_isr > one.replicas:
            findings.append(
                fail(
                    CHECK,
                    f"{topic} has min.insync.replicas={one.min_isr} and {_replicas(one)}: nothing can be written",
                    f"set min.insync.replicas={max(1, one.replicas - 1)} on {topic}",
                )
            )
        elif one.replicas < due:
            than = f"the cluster has {brokers} brokers" if due == wanted else f"the inputs have {due}"
            findings.append(
                warn(
                    CHECK,
                    f"{topic} has {_replicas(one)}, but {than}: the loss of a broker can lose data",
                    f"give {topic} {due} replicas with kafka-reassign-partitions.sh; SWAY_TOPICS__REPLICATION applies "
                    "to new topics only",
                )
            )
        elif one.replicas >= MAX_REPLICAS and one.min_isr < _MIN_ISR:
            findings.append(
                warn(
                    CHECK,
                    f"{topic} has {_replicas(one)} and min.insync.replicas={one.min_isr}: a record that only one "
                    "broker has acknowledged can be lost",
                    f"set min.insync.replicas={_MIN_ISR} on {topic}",
                )
            )
    return findings


def check_times(unlimited: Sequence[str], max_ahead_s: float) -> list[Finding]:
    """Warn of inputs that accept timestamps in the far future. unlimited: their names."""
    return [
        warn(
            CHECK,
            f"{topic} accepts timestamps in the far future, so producers with wrong clocks are not rejected. Labels "
            "tolerate it as long as the clocks of most users are right",
            f"set {AFTER_MAX_MS}={round(max_ahead_s * 1000)} on {topic} (Kafka 3.6 or newer)",
        )
        for topic in unlimited
    ]


def _replicas(one: Replication) -> str:
    return "1 replica" if one.replicas == 1 else f"{one.replicas} replicas"


def _missing(needed: NeededTopics, counts: Mapping[str, int]) -> list[Finding]:
    findings = []
    missing = [topic for topic in (*needed.inputs, *needed.outputs) if topic not in counts]
    later = [topic for topic in needed.later if topic not in counts]
    if missing:
        findings.append(
            fail(CHECK, f"missing: {', '.join(missing)}", f"{_CREATE}, or set SWAY_TOPICS__PREFIX")
        )
    if later:
        findings.append(warn(CHECK, f"missing, but not needed by a worker yet: {', '.join(later)}", _CREATE))
    return findings


def _counts(needed: NeededTopics, counts: Mapping[str, int]) -> list[Finding]:
    inputs = {topic: counts[topic] for topic in needed.inputs if topic in counts}
    if len(set(inputs.values())) > 1:
        listing = ", ".join(f"{topic} has {count}" for topic, count in inputs.items())
        return [
            fail(
                CHECK,
                f"the partition counts differ, so a user's records are not in one partition: {listing}",
                "recreate the topics with one count, under another SWAY_TOPICS__PREFIX: adding partitions separates "
                "users from their state",
            )
        ]
    if not inputs:
        return []
    wanted = next(iter(inputs.values()))
    return [
        fail(
            CHECK,
            f"the changelog {topic} has {counts[topic]} partitions, but the inputs have {wanted}: partitions were "
            "added, so users are separated from their state",
            "set a new SWAY_APP_ID and read the events again",
        )
        for topic in needed.changelogs
        if counts.get(topic, wanted) != wanted
    ]


def _all_well(needed: NeededTopics, counts: Mapping[str, int]) -> str:
    created = all(topic in counts for topic in needed.changelogs)
    changelogs = ", ".join(needed.changelogs)
    note = f"{changelogs} too" if created else f"the first worker creates {changelogs}"
    return f"all exist; {' and '.join(needed.inputs)} have {counts[needed.inputs[0]]} partitions, {note}"
