"""The topics that a replay writes: made if they are missing, refused if they are anybody else's."""

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream.replay.outputs import TopicNames
from stream.settings import Settings
from sway.cluster import QUIET, Cluster, reason
from sway.errors import CommandError
from sway.topic_plan import KEEP_FOR_EVER, TopicPlan

_CALL_TIMEOUT_S = 10.0


def check_name(topic: str, settings: Settings) -> None:
    """Raise CommandError if a replay would write into a topic of production."""
    names = TopicNames(topic)
    ours = {names.scores, names.dead_letters, names.examples}
    taken = ours & set(settings.topics.names().values())
    changelogs = {
        name for name in ours if name.startswith(f"{settings.app_id}-") and name.endswith("-changelog")
    }
    if taken or changelogs:
        raise CommandError(
            f"{', '.join(sorted(taken | changelogs))} belongs to the live application: give the replay a topic of its "
            f"own, such as {settings.topics.scores}.replay-1"
        )


def make_topics(
    cluster: Cluster, settings: Settings, topic: str, *, with_labels: bool, resumes: bool
) -> None:
    """Create what is missing, with as many partitions as the events have, kept for ever.

    resumes: the replay has written into them before. Raises CommandError for topics that hold anything else.
    """
    names = TopicNames(topic)
    wanted = [names.scores, names.dead_letters, *([names.examples] if with_labels else [])]
    counts = cluster.view().partition_counts
    partitions = counts[settings.topics.events]
    for name in wanted:
        if counts.get(name, partitions) != partitions:
            raise CommandError(
                f"{name} has {counts[name]} partitions, and {settings.topics.events} has {partitions}: a user's scores "
                "must stay in one partition. Give another name"
            )
    if not resumes:
        there = [name for name in wanted if name in counts]
        held = {name: number for name in there if (number := _records(settings, name, partitions))}
        if held:
            told = ", ".join(f"{name} holds {number} records" for name, number in held.items())
            raise CommandError(
                f"{told}: give the replay a topic of its own, or the id of the replay that wrote it (--id)"
            )
    missing = [name for name in wanted if name not in counts]
    if resumes and missing:
        raise CommandError(
            f"{', '.join(missing)} is gone, and this replay has written into it: begin again, with another id (--id)"
        )
    try:
        plans = [TopicPlan(name, partitions, KEEP_FOR_EVER) for name in missing]
        cluster.create(plans, settings.topics.replication)
    except CommandError:
        if not set(missing) <= cluster.view().partition_counts.keys():  # else another machine was first
            raise


def _records(settings: Settings, topic: str, partitions: int) -> int:
    consumer = Consumer({**settings.kafka.client_config(), **QUIET, "group.id": settings.app_id})
    try:
        bounds = [
            consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_CALL_TIMEOUT_S)
            for number in range(partitions)
        ]
    except KafkaException as exc:
        raise CommandError(f"cannot ask what {topic} holds: {reason(exc)}") from exc
    finally:
        consumer.close()
    return sum(high - low for low, high in bounds)
