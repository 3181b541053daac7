"""Classification of failures as outages: temporary, and not caused by the request. No I/O."""

from confluent_kafka import KafkaException

from clients.transient import is_transient
from schemas.errors import RegistryUnavailable
from trainer.errors import RangeUnavailable


def is_outage(exc: BaseException) -> bool:
    """Return whether a failure means a temporarily unreachable broker, Schema Registry or network.

    A missing topic or permission is not an outage, because waiting does not resolve it.
    """
    if isinstance(exc, KafkaException):
        return is_transient(exc.args[0])
    return isinstance(exc, (RangeUnavailable, RegistryUnavailable, TimeoutError, ConnectionError))
