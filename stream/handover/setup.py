"""Creates a hand-over leader from the settings."""

from collections.abc import Callable

from schemas.records import TrainingRequest
from stream.handover.leader import HandoverLeader
from stream.handover.rule import HandoverRule
from stream.settings import Settings
from stream.wire import codec_for


def lead(settings: Settings, cancelled: Callable[[], bool] = lambda: False) -> HandoverLeader:
    """Become the leader of `{app_id}-handover`. Raises the exceptions of HandoverLeader."""
    wanted, names = settings.handover, settings.topics
    return HandoverLeader(
        settings.kafka.client_config(),
        f"{settings.app_id}-handover",
        examples=names.examples,
        training=names.training,
        codec=codec_for(TrainingRequest, names.training, settings.wire),
        rule=HandoverRule(wanted.min_examples, wanted.max_interval_s),
        connect_timeout_s=settings.kafka.connect_timeout_s,
        cancelled=cancelled,
    )
