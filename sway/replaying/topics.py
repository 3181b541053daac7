"""The output topics of a replay: create missing ones, and reject those that belong to something else."""

from confluent_kafka import Consumer, KafkaException

from clients.watermarks import watermarks
from stream.replay.outputs import TopicNames
from stream.settings import Settings
from sway.cluster import QUIET, Cluster, reason
from sway.errors import CommandError
from sway.topic_plan import UNLIMITED_RETENTION, TopicPlan

_CALL_TIMEOUT_S = 10.0


def check_name(topic: str, settings: Settings) -> None:
    """Raise CommandError if a replay would write to a topic of the live application."""
    names = TopicNames(topic)
    ours = {names.scores, names.dead_letters, names.examples}
    taken = ours & set(settings.topics.names().values())
    changelogs = {
        name for name in ours if name.startswith(f"{settings.app_id}-") and name.endswith("-changelog")
    }
    if taken or changelogs:
        raise CommandError(
            f"{', '.join(sorted(taken | changelogs))} belongs to the live application: give the replay another topic, "
            f"such as {settings.topics.scores}.replay-1"
        )


def make_topics(
    cluster: Cluster, settings: Settings, topic: str, *, with_labels: bool, resumes: bool
) -> None:
    """Create missing topics, with the partition count of the events topic and unlimited retention.

    resumes: whether this replay has already written to them. Raises CommandError if a topic contains other records, has
    another partition count, or is missing although the replay resumes.
    """
    names = TopicNames(topic)
    wanted = [names.scores, names.dead_letters, *([names.examples] if with_labels else [])]
    counts = cluster.view().partition_counts
    partitions = counts[settings.topics.events]
    for name in wanted:
        if counts.get(name, partitions) != partitions:
            raise CommandError(
                f"{name} has {counts[name]} partitions, but {settings.topics.events} has {partitions}: a user's scores "
                "must stay in one partition. Give another name"
            )
    if not resumes:
        existing = [name for name in wanted if name in counts]
        sizes = {name: size for name in existing if (size := _records(settings, name, partitions))}
        if sizes:
            contents = ", ".join(f"{name} contains {size} records" for name, size in sizes.items())
            raise CommandError(
                f"{contents}: give the replay another topic, or the id of the replay that wrote it with --id"
            )
    missing = [name for name in wanted if name not in counts]
    if resumes and missing:
        raise CommandError(
            f"{', '.join(missing)} was deleted after this replay wrote to it: start a new replay with another --id"
        )
    try:
        plans = [TopicPlan(name, partitions, UNLIMITED_RETENTION) for name in missing]
        cluster.create(plans, settings.topics.replication)
    except CommandError:
        # If they exist now, another machine has created them.
        if not set(missing) <= cluster.view().partition_counts.keys():
            raise


def _records(settings: Settings, topic: str, partitions: int) -> int:
    consumer = Consumer({**settings.kafka.client_config(), **QUIET, "group.id": settings.app_id})
    try:
        bounds = [watermarks(consumer, (topic, number), _CALL_TIMEOUT_S) for number in range(partitions)]
    except KafkaException as exc:
        raise CommandError(f"cannot read the size of {topic}: {reason(exc)}") from exc
    finally:
        consumer.close()
    return sum(high - low for low, high in bounds)
