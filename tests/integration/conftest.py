"""Topics and groups of its own for each test, on the session's one Kafka (the fixture `kafka`, one folder up)."""

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
    """Mark what stands in this folder; pytest calls this once with the tests of all folders."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


class Topics:
    """Topics and groups under a prefix that no other test has."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.prefix = prefix
        self.admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})

    def name(self, short: str) -> str:
        """The full name of a topic, made or not."""
        return f"{self.prefix}.{short}"

    def group(self, short: str = "group") -> str:
        """The full name of a consumer group."""
        return f"{self.prefix}.{short}"

    def create(self, short: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
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
    """Topics of this test's own; `topics.prefix` is also good as an app id."""
    test = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")[:40]
    return Topics(kafka.bootstrap_servers, f"{test}-{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Processes that have imported what they need: there is one server of them, and it loads at its start only."""
    context = multiprocessing.get_context("forkserver")
    from tests.faults.process import PRELOADED

    context.set_forkserver_preload(PRELOADED)
    return context


@pytest.fixture
def sway(topics: Topics, registry: Path, tmp_path: Path) -> "Iterator[Sway]":
    """Topics of this test's own and workers on them; what still runs at the end is killed."""
    from tests.integration.workers import Sway

    with Sway(topics, registry, tmp_path) as made:
        yield made


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Return once the condition holds; after timeout_s fail naming `what`. The one place that sleeps."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"no {what} within {timeout_s:g} s")
        time.sleep(0.02)
