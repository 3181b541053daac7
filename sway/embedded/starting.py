"""The start of one or more brokers: folders, ports, and the wait for readiness."""

import base64
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from sway.embedded import ports
from sway.embedded.broker import Broker
from sway.embedded.errors import KafkaStartError, PortTakenError
from sway.embedded.properties import Node
from sway.embedded.readiness import await_broker
from sway.embedded.runtime import KafkaRuntime

_PORT_ATTEMPTS = 5
# Other processes bind a port for a moment to check that it is free, or hold one that they are about to give up.
_PORT_PAUSE_S = 0.5
# The message of Java in the log.
_PORT_TAKEN = "Address already in use"


def broker_in(folder: Path | None, runtime: KafkaRuntime, heap_mb: int) -> Broker:
    """Return a broker for this folder, or for a new temporary folder that is removed with it."""
    if folder is not None:
        return Broker(runtime, folder.absolute(), heap_mb, temporary=False)
    return Broker(runtime, Path(tempfile.mkdtemp(prefix="sway-kafka-")), heap_mb, temporary=True)


def check_port(node: Node) -> None:
    """Raise PortTakenError if the port of a node that restarts is taken."""
    if not ports.is_free(node.broker_port):
        raise PortTakenError(f"cannot restart the embedded Kafka: another process listens on {node.address}")


def start_on_free_ports(
    brokers: Mapping[int, Broker],
    choose: Callable[[], tuple[Node, ...]],
    timeout_s: float,
    running: Collection[int] = (),
) -> tuple[Node, ...]:
    """Start the brokers, wait until they are ready, and return the nodes of the cluster.

    brokers: by node id. choose: returns the nodes of the whole cluster; called again if another process took a port
    between check and start. running: the ids of the running nodes.
    Raises KafkaStartError with the end of the log; none of these brokers is left running then.
    """
    for _ in range(_PORT_ATTEMPTS - 1):
        try:
            return _start_once(brokers, choose(), timeout_s, running)
        except PortTakenError:
            _stop(brokers.values())
            time.sleep(_PORT_PAUSE_S)
    try:
        return _start_once(brokers, choose(), timeout_s, running)
    except BaseException:
        _stop(brokers.values())
        raise


def _start_once(
    brokers: Mapping[int, Broker], cluster: tuple[Node, ...], timeout_s: float, running: Collection[int]
) -> tuple[Node, ...]:
    cluster_id = _new_cluster_id()
    nodes = {node.node_id: node for node in cluster}
    # An existing folder has a cluster id, which new folders take over.
    for node_id, broker in brokers.items():
        cluster_id = broker.start(nodes[node_id], cluster, cluster_id)
    up = {*running, *brokers}

    def check_alive() -> None:
        for broker in brokers.values():
            if broker.exit_status is not None:
                raise _death(broker, broker.exit_status)

    for node_id, broker in brokers.items():
        address = nodes[node_id].address
        if not await_broker(address, cluster_id, up, timeout_s=timeout_s, on_wait=check_alive):
            raise KafkaStartError(
                f"the embedded Kafka at {address} was not ready within {timeout_s:g} s:\n{broker.log_tail()}"
            )
    return cluster


def _stop(brokers: Iterable[Broker]) -> None:
    for broker in brokers:
        broker.stop()


def _death(broker: Broker, status: int) -> KafkaStartError:
    kind = PortTakenError if _PORT_TAKEN in broker.log_of_this_start() else KafkaStartError
    return kind(f"the embedded Kafka exited with status {status} during its start:\n{broker.log_tail()}")


def _new_cluster_id() -> str:
    """Return a random cluster id in Kafka's format, without a leading dash, which would be parsed as an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
