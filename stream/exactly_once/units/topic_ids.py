"""Stores topic ids in the metadata of committed offsets, to detect recreated topics.

A topic that was deleted and recreated has the same name, but its offsets refer to different records. Each commit
therefore stores the ids of the input and changelog topics, and the next epoch compares them.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stream.exactly_once.units.records import TopicPartition


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed offset. offset: the next offset to read, None if there is none. metadata: its commit metadata."""

    offset: int | None
    metadata: str = ""


def encode_topic_ids(topic_ids: Mapping[str, str]) -> str:
    """Encode topic ids by topic as commit metadata: about 30 bytes per topic, whatever the length of its name."""
    return ",".join(f"{_short(topic)}:{topic_ids[topic]}" for topic in sorted(topic_ids))


def decode_topic_ids(metadata: str) -> dict[str, str]:
    """Return the topic ids by topic hash; empty for metadata in another format."""
    pairs = (entry.split(":") for entry in metadata.split(","))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def find_lost(
    committed: Mapping[TopicPartition, Committed],
    topic_ids: Mapping[str, str],
    with_state: Sequence[int],
) -> dict[TopicPartition, str]:
    """Return the input partitions whose committed offset cannot be used, with the reason.

    topic_ids: the current topic ids. with_state: the partitions whose changelogs contain records.
    An offset without metadata is trusted: it was set by hand or committed by a version that stored no topic ids.
    """
    lost: dict[TopicPartition, str] = {}
    known: dict[int, dict[str, str]] = {}
    for tp, one in committed.items():
        known.setdefault(tp.partition, {}).update(decode_topic_ids(one.metadata))
    read_before = {tp.partition for tp, one in committed.items() if one.offset is not None}
    for tp, one in committed.items():
        was = known[tp.partition].get(_short(tp.topic))
        if one.offset is not None and not one.metadata:
            continue
        if was is not None and was != topic_ids[tp.topic]:
            lost[tp] = "the topic was deleted and recreated"
        elif one.offset is None and was is not None:
            lost[tp] = "its committed offset was deleted"
        elif one.offset is None and tp.partition in with_state and tp.partition not in read_before:
            lost[tp] = (
                "there is state but no committed offset: the group's offsets have expired "
                "(offsets.retention.minutes), or the topic was deleted and recreated"
            )
    return lost


def find_recreated(
    committed: Mapping[TopicPartition, Committed], changelogs: Sequence[str], topic_ids: Mapping[str, str]
) -> list[str]:
    """Return the changelogs that were recreated since the group's last commit."""
    return [
        topic
        for topic in changelogs
        if any(
            decode_topic_ids(one.metadata).get(_short(topic), topic_ids[topic]) != topic_ids[topic]
            for one in committed.values()
        )
    ]


def _short(topic: str) -> str:
    return f"{zlib.crc32(topic.encode()):08x}"
