"""Which failures are an outage: they pass by themselves, and the request has no part in them. Pure."""

from confluent_kafka import KafkaException

from clients.transient import is_transient
from schemas.errors import RegistryUnavailable
from trainer.errors import RangeUnavailable


def is_outage(exc: BaseException) -> bool:
    """Say whether a failure is a broker, a Schema Registry or a network that is away for now.

    A topic that does not exist or a right that is missing is none: waiting does not mend it.
    """
    if isinstance(exc, KafkaException):
        return is_transient(exc.args[0])
    return isinstance(exc, (RangeUnavailable, RegistryUnavailable, TimeoutError, ConnectionError))
