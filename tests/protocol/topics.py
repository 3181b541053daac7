"""The topics of the model, all with the same partitions: two inputs, one output, one table's changelog."""

from stream.exactly_once.units.records import TopicPartition

EVENTS, NOTES, OUTPUT, CHANGELOG = "events", "notes", "output", "changelog"
INPUTS = (EVENTS, NOTES)
TABLE = "seen"
PARTITIONS = 2
KEYS = (b"ann", b"bob")


def inputs_of(partitions: tuple[int, ...]) -> list[TopicPartition]:
    """Return the input partitions with these numbers."""
    return [TopicPartition(topic, number) for number in partitions for topic in INPUTS]


def name_of(where: TopicPartition, offset: int) -> bytes:
    """Return an input record's name: the key of its output, and its entry in the state."""
    return f"{where.topic[0]}{where.partition}@{offset}".encode()
