"""What Kafka's clients raise, as a replay's errors."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from confluent_kafka import KafkaError, KafkaException

from stream.replay.errors import ReplayError

P = ParamSpec("P")
R = TypeVar("R")


def kafka_errors(method: Callable[P, R]) -> Callable[P, R]:
    """Have a function raise ReplayError where it raises KafkaException."""

    @wraps(method)
    def mapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except KafkaException as exc:
            error = exc.args[0] if exc.args else exc
            said = error.str() if isinstance(error, KafkaError) else str(error)
            raise ReplayError(
                f"Kafka refuses what the replay needs, or does not answer: {said}. What is done is kept; the same "
                "command goes on from there."
            ) from exc

    return mapped
