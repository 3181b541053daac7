"""Whether the topics are there and fit each other. Pure.

Source: DESIGN section 2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stream.settings import TopicSettings
from sway.doctor.findings import Finding, fail, ok, warn

CHECK = "topics"
_CREATE = "create them with `sway topics create`"


@dataclass(frozen=True, slots=True)
class NeededTopics:
    """The topics by what a worker does with them.

    inputs: read; one user must be in one partition of all of them. outputs: written. changelogs: the state.
    later: part of Sway, not needed by a worker yet.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    changelogs: tuple[str, ...]
    later: tuple[str, ...]


def needed_topics(topics: TopicSettings, app_id: str, tables: Sequence[str]) -> NeededTopics:
    """Return what the worker `app_id` with these tables needs, by Faust's rule for changelog names."""
    inputs = (topics.events, topics.outcomes)
    outputs = (topics.scores, topics.dead_letters)
    later = tuple(name for name in topics.names().values() if name not in {*inputs, *outputs})
    changelogs = tuple(f"{app_id}-{table}-changelog" for table in tables)
    return NeededTopics(inputs, outputs, changelogs, later)


def check_topics(needed: NeededTopics, partition_counts: Mapping[str, int]) -> list[Finding]:
    """Say what is missing and which partition counts differ."""
    findings = [*_missing(needed, partition_counts), *_counts(needed, partition_counts)]
    return findings or [ok(CHECK, _all_well(needed, partition_counts))]


def check_cleanup_policies(policies: Mapping[str, str]) -> list[Finding]:
    """Say which changelogs would lose state: only compaction keeps the last value of every key."""
    return [
        fail(
            CHECK,
            f"{topic} has cleanup.policy={policy}: old state would be deleted and a lost folder not rebuilt whole",
            f"set cleanup.policy=compact on {topic}",
        )
        for topic, policy in policies.items()
        if policy != "compact"
    ]


def _missing(needed: NeededTopics, counts: Mapping[str, int]) -> list[Finding]:
    findings = []
    missing = [topic for topic in (*needed.inputs, *needed.outputs) if topic not in counts]
    later = [topic for topic in needed.later if topic not in counts]
    if missing:
        findings.append(
            fail(CHECK, f"missing: {', '.join(missing)}", f"{_CREATE}, or set SWAY_TOPICS__PREFIX")
        )
    if later:
        findings.append(warn(CHECK, f"missing, not needed by a worker yet: {', '.join(later)}", _CREATE))
    return findings


def _counts(needed: NeededTopics, counts: Mapping[str, int]) -> list[Finding]:
    inputs = {topic: counts[topic] for topic in needed.inputs if topic in counts}
    if len(set(inputs.values())) > 1:
        listing = ", ".join(f"{topic} has {count}" for topic, count in inputs.items())
        return [
            fail(
                CHECK,
                f"the partition counts differ, so a user's records are not in one partition: {listing}",
                "make the topics again with one count, under another SWAY_TOPICS__PREFIX: adding partitions moves "
                "users away from their state",
            )
        ]
    if not inputs:
        return []
    wanted = next(iter(inputs.values()))
    return [
        fail(
            CHECK,
            f"the changelog {topic} has {counts[topic]} partitions, the inputs have {wanted}: they were extended, so "
            "users have moved away from their state",
            "set a new SWAY_APP_ID and read the events again",
        )
        for topic in needed.changelogs
        if counts.get(topic, wanted) != wanted
    ]


def _all_well(needed: NeededTopics, counts: Mapping[str, int]) -> str:
    made = all(topic in counts for topic in needed.changelogs)
    changelog = ", ".join(needed.changelogs)
    told = f"{changelog} too" if made else f"{changelog} is made by the first worker"
    return f"all there; {' and '.join(needed.inputs)} have {counts[needed.inputs[0]]} partitions, {told}"
