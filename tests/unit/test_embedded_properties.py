"""What the broker is told, and the ports it gets."""

import socket

import pytest

from sway.embedded.errors import KafkaStartError
from sway.embedded.ports import FIRST, HOST, LAST, free_port, is_free
from sway.embedded.properties import Node, server_properties


def parsed(properties: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in properties.splitlines())


def test_one_node_replicates_nothing_and_listens_on_loopback_only() -> None:
    node = Node(1, 20001, 20002)
    told = parsed(server_properties(node, (node,)))
    assert told["listeners"] == "BROKER://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002"
    assert told["controller.quorum.voters"] == "1@127.0.0.1:20002"
    assert told["auto.create.topics.enable"] == "false"
    assert told["transaction.abort.timed.out.transaction.cleanup.interval.ms"] == "1000"
    replicated = {key: value for key, value in told.items() if "replication" in key or key.endswith("isr")}
    assert len(replicated) == 6
    assert set(replicated.values()) == {"1"}


def test_three_nodes_replicate_three_times_and_survive_the_loss_of_one() -> None:
    nodes = tuple(Node(n, 20000 + n, 21000 + n) for n in (1, 2, 3))
    told = parsed(server_properties(nodes[1], nodes))
    assert told["node.id"] == "2"
    assert told["controller.quorum.voters"] == "1@127.0.0.1:21001,2@127.0.0.1:21002,3@127.0.0.1:21003"
    assert told["transaction.state.log.replication.factor"] == "3"
    assert told["min.insync.replicas"] == "2"


def test_a_free_port_is_free_until_somebody_listens() -> None:
    port = free_port()
    assert FIRST <= port <= LAST
    assert is_free(port)
    with socket.create_server((HOST, port)):
        assert not is_free(port)


def test_without_a_free_port_the_range_is_named() -> None:
    with pytest.raises(KafkaStartError, match=f"between {FIRST} and {LAST}"):
        free_port(taken=frozenset(range(FIRST, LAST + 1)))
