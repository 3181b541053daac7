"""Which failures are an outage: they pass by themselves, and the request has no part in them. Pure."""

from confluent_kafka import KafkaError, KafkaException

from schemas.errors import RegistryUnavailable
from trainer.errors import RangeUnavailable

_KAFKA = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)


def is_outage(exc: BaseException) -> bool:
    """Say whether a failure is a broker, a Schema Registry or a network that is away for now.

    A topic that does not exist or a right that is missing is none: waiting does not mend it.
    """
    if isinstance(exc, KafkaException):
        return is_kafka_outage(exc.args[0])
    return isinstance(exc, (RangeUnavailable, RegistryUnavailable, TimeoutError, ConnectionError))


def is_kafka_outage(error: KafkaError) -> bool:
    """Say whether Kafka's error is one that passes by itself."""
    return error.code() in _KAFKA
