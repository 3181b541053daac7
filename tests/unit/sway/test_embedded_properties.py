"""The broker's properties and its ports."""

import socket

import pytest

from sway.embedded.errors import KafkaStartError
from sway.embedded.ports import FIRST, HOST, LAST, free_port, is_free
from sway.embedded.properties import Node, server_properties


def parsed(properties: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in properties.splitlines())


def test_one_node_replicates_nothing_and_listens_on_loopback_only() -> None:
    node = Node(1, 20001, 20002)
    properties = parsed(server_properties(node, (node,)))
    assert properties["listeners"] == "BROKER://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:20002"
    assert properties["auto.create.topics.enable"] == "false"
    assert properties["transaction.abort.timed.out.transaction.cleanup.interval.ms"] == "1000"
    replicated = {
        key: value for key, value in properties.items() if "replication" in key or key.endswith("isr")
    }
    assert len(replicated) == 6
    assert set(replicated.values()) == {"1"}


def test_three_nodes_replicate_three_times_and_survive_one_loss() -> None:
    nodes = tuple(Node(n, 20000 + n, 21000 + n) for n in (1, 2, 3))
    properties = parsed(server_properties(nodes[1], nodes))
    assert properties["node.id"] == "2"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:21001,2@127.0.0.1:21002,3@127.0.0.1:21003"
    assert properties["transaction.state.log.replication.factor"] == "3"
    assert properties["min.insync.replicas"] == "2"


def test_a_port_is_free_until_a_server_listens() -> None:
    port = free_port()
    assert FIRST <= port <= LAST
    assert is_free(port)
    with socket.create_server((HOST, port)):
        assert not is_free(port)


def test_the_error_without_a_free_port_names_the_range() -> None:
    with pytest.raises(KafkaStartError, match=f"between {FIRST} and {LAST}"):
        free_port(taken=frozenset(range(FIRST, LAST + 1)))
