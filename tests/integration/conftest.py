"""Separate topics and groups for each test, on one Kafka per session (the fixture `kafka` of tests/conftest.py)."""

import multiprocessing
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from sway.embedded import EmbeddedKafka

if TYPE_CHECKING:
    from tests.integration.workers import Sway

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder as integration tests; pytest passes the tests of all folders."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


class Topics:
    """Topics and groups with a prefix unique to a test."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.prefix = prefix
        self.admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})

    def name(self, short: str) -> str:
        """Return the full name of a topic, which need not exist."""
        return f"{self.prefix}.{short}"

    def group(self, short: str = "group") -> str:
        """Return the full name of a consumer group."""
        return f"{self.prefix}.{short}"

    def create(self, short: str, *, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create a topic and return its full name once every partition has a leader."""
        name = self.name(short)
        new = NewTopic(name, num_partitions=partitions, config=dict(config or {}))
        self.admin.create_topics([new])[name].result(timeout=30)
        wait_for(lambda: self._leaders(name) == partitions, f"{partitions} leaders of {name}")
        return name

    def _leaders(self, name: str) -> int:
        partitions = self.admin.list_topics(name, timeout=10).topics[name].partitions.values()
        return sum(partition.leader >= 0 for partition in partitions)


@pytest.fixture
def topics(kafka: EmbeddedKafka, request: pytest.FixtureRequest) -> Topics:
    """Separate topics for this test; `topics.prefix` can also serve as an app id."""
    test = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")[:40]
    return Topics(kafka.bootstrap_servers, f"{test}-{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """The fork server of this session; it imports the tests' modules once, at its start."""
    context = multiprocessing.get_context("forkserver")
    from tests.faults.process import PRELOADED

    context.set_forkserver_preload(PRELOADED)
    return context


@pytest.fixture
def sway(topics: Topics, registry: Path, tmp_path: Path) -> "Iterator[Sway]":
    """Separate topics for this test, and workers on them, which are killed at its end."""
    from tests.integration.workers import Sway

    with Sway(topics, registry, tmp_path) as made:
        yield made


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait until the condition holds; after timeout_s fail with `what` in the message. No other helper sleeps."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"timed out after {timeout_s:g} s waiting for {what}")
        time.sleep(0.02)
