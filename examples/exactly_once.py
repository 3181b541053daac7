"""Counts each user's clicks, exactly once: `python examples/exactly_once.py 127.0.0.1:9092 shop state`.

Reads PREFIX.clicks (key = user, any value) and writes PREFIX.counts (key = user, value = how many so far).
Create both topics first, with the same key's partitioner everywhere.
"""

import sys
from pathlib import Path
from typing import Any

from faust.worker import Worker

from stream.exactly_once import ExactlyOnceApp, ExactlyOnceConfig, LayeredTable, RecordBatch, Unit, Work

bootstrap_servers, prefix, state_dir = sys.argv[1:]


class CountClicks:
    """A Processor without a Scorer: everything is said in `read`."""

    def __init__(self, table: LayeredTable[int]) -> None:
        self.table = table

    async def prepare(self, batch: RecordBatch) -> None:
        """Nothing to wait for."""

    def read(self, batch: RecordBatch, unit: Unit) -> Work:
        """Count, and say so; called again for records whose unit was dropped."""
        for record in batch.records:
            user = record.key or b"nobody"
            count = (self.table.get_in(record.partition, user) or 0) + 1
            unit.put(self.table.name, record.partition, user, count)
            unit.emit(f"{prefix}.counts", user, str(count).encode())
        return Work([])

    def finish(self, work: Work, results: Any, unit: Unit) -> None:
        """Nothing is left to say."""


app = ExactlyOnceApp(
    f"{prefix}-counter",
    ExactlyOnceConfig(
        input_topics=[f"{prefix}.clicks"],
        state_dir=Path(state_dir),
        client_config={"bootstrap.servers": bootstrap_servers},
    ),
    broker_session_timeout=10.0,  # a killed worker's partitions wait so long for their next one
    web_enabled=False,
)
counts: LayeredTable[int] = app.layered_table("counts", dumps=lambda count: str(count).encode(), loads=int)
app.process_with(CountClicks(counts))

if __name__ == "__main__":
    Worker(app, loglevel="WARNING").execute_from_commandline()
