"""Converts Kafka client exceptions to replay errors."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from confluent_kafka import KafkaError, KafkaException

from stream.replay.errors import ReplayError

P = ParamSpec("P")
R = TypeVar("R")


def kafka_errors(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to raise ReplayError instead of KafkaException."""

    @wraps(method)
    def mapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except KafkaException as exc:
            error = exc.args[0] if exc.args else exc
            message = error.str() if isinstance(error, KafkaError) else str(error)
            raise ReplayError(
                f"Kafka refuses a request of the replay or does not answer: {message}. Completed work is kept; run the "
                "same command to continue."
            ) from exc

    return mapped
