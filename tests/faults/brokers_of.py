"""The brokers of a case: a shared one, or its own cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from sway.embedded import EmbeddedKafka
from tests.faults.case import Case
from tests.support.kafka_cluster import EmbeddedCluster


class Brokers:
    """Starts brokers when a case needs them."""

    def __init__(self) -> None:
        self._shared: EmbeddedKafka | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shared is not None:
            self._shared.stop()

    @contextmanager
    def of(self, case: Case) -> Iterator[Any]:
        """Yield the brokers for a case; its own brokers end with it."""
        if case.own_brokers:
            with EmbeddedKafka() if case.brokers == 1 else EmbeddedCluster(case.brokers) as own:
                yield own
        else:
            if self._shared is None:
                self._shared = EmbeddedKafka().start()
            yield self._shared
