"""The embedded Kafka for this folder."""

from collections.abc import Iterator

import pytest

from sway.embedded import EmbeddedKafka


@pytest.fixture(scope="session")
def kafka() -> Iterator[EmbeddedKafka]:
    """One broker for the session; each test makes topics and groups of its own."""
    with EmbeddedKafka() as broker:
        yield broker
