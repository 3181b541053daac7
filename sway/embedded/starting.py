"""What the start of one broker and of three have in common: folders, ports and the wait for an answer."""

import base64
import tempfile
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
_PORT_TAKEN = "Address already in use"  # how Java words it in the log


def broker_in(folder: Path | None, runtime: KafkaRuntime, heap_mb: int) -> Broker:
    """Return a broker that works in this folder, or in a temporary one that goes with it."""
    if folder is not None:
        return Broker(runtime, folder.absolute(), heap_mb, temporary=False)
    return Broker(runtime, Path(tempfile.mkdtemp(prefix="sway-kafka-")), heap_mb, temporary=True)


def check_port(node: Node) -> None:
    """Raise PortTakenError if a node that clients know cannot come back to its address."""
    if not ports.is_free(node.broker_port):
        raise PortTakenError(
            f"the embedded Kafka cannot come back: another process listens on {node.address}"
        )


def start_on_free_ports(
    brokers: Mapping[int, Broker],
    choose: Callable[[], tuple[Node, ...]],
    timeout_s: float,
    running: Collection[int] = (),
) -> tuple[Node, ...]:
    """Start the brokers, by node id, and return the cluster's nodes once they answer.

    choose: gives the nodes of the whole cluster; asked again if somebody took a port between the look and the start.
    running: the ids of the nodes that are up already.
    Raises KafkaStartError with what the log says; none of these brokers is left running then.
    """
    for _ in range(_PORT_ATTEMPTS - 1):
        try:
            return _start_once(brokers, choose(), timeout_s, running)
        except PortTakenError:
            _stop(brokers.values())
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
    for node_id, broker in brokers.items():  # a folder that is in use names the id that a new one takes over
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
                f"the embedded Kafka at {address} did not answer within {timeout_s:g} s:\n{broker.trouble()}"
            )
    return cluster


def _stop(brokers: Iterable[Broker]) -> None:
    for broker in brokers:
        broker.stop()


def _death(broker: Broker, status: int) -> KafkaStartError:
    kind = PortTakenError if _PORT_TAKEN in broker.log_of_this_start() else KafkaStartError
    return kind(f"the embedded Kafka ended with status {status} while starting:\n{broker.trouble()}")


def _new_cluster_id() -> str:
    """Return 16 random bytes as Kafka writes them; never with a leading dash, which reads as an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
