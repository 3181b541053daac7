"""Which topics a committed offset belongs to: their ids travel with it, as its metadata. Pure.

Kafka knows a topic by its name, and a topic that was deleted and made again has the same name and offsets that mean
something else. So each commit notes the ids of the inputs and the changelogs, and the next epoch compares.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stream.exactly_once.units.records import TopicPartition


@dataclass(frozen=True, slots=True)
class Committed:
    """What the group has committed for a partition. offset: the next one, None if none. note: its metadata."""

    offset: int | None
    note: str = ""


def note_of(topic_ids: Mapping[str, str]) -> str:
    """Return the note for these ids by topic: some 30 bytes a topic, whatever its name."""
    return ",".join(f"{_short(topic)}:{topic_ids[topic]}" for topic in sorted(topic_ids))


def ids_in(note: str) -> dict[str, str]:
    """Return the ids by shortened topic; of a note that is not ours, none."""
    pairs = (entry.split(":") for entry in note.split(","))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def find_lost(
    committed: Mapping[TopicPartition, Committed],
    topic_ids: Mapping[str, str],
    with_state: Sequence[int],
) -> dict[TopicPartition, str]:
    """Return the input partitions that cannot be read on from where the group was, and why.

    topic_ids: of today. with_state: the partitions whose changelogs hold anything.
    An offset without a note was set by hand, or before there were notes: it is trusted.
    """
    lost: dict[TopicPartition, str] = {}
    known: dict[int, dict[str, str]] = {}
    for tp, one in committed.items():
        known.setdefault(tp.partition, {}).update(ids_in(one.note))
    read_before = {tp.partition for tp, one in committed.items() if one.offset is not None}
    for tp, one in committed.items():
        was = known[tp.partition].get(_short(tp.topic))
        if one.offset is not None and not one.note:
            continue
        if was is not None and was != topic_ids[tp.topic]:
            lost[tp] = "the topic was deleted and made again"
        elif one.offset is None and was is not None:
            lost[tp] = "its committed offset was deleted"
        elif one.offset is None and tp.partition in with_state and tp.partition not in read_before:
            lost[tp] = (
                "there is state but no committed offset: the group's offsets have expired "
                "(offsets.retention.minutes), or the topic was deleted and made again"
            )
    return lost


def find_made_again(
    committed: Mapping[TopicPartition, Committed], changelogs: Sequence[str], topic_ids: Mapping[str, str]
) -> list[str]:
    """Return the changelogs that are not the ones to which the group's state was committed."""
    return [
        topic
        for topic in changelogs
        if any(
            ids_in(one.note).get(_short(topic), topic_ids[topic]) != topic_ids[topic]
            for one in committed.values()
        )
    ]


def _short(topic: str) -> str:
    return f"{zlib.crc32(topic.encode()):08x}"
