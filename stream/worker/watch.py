"""Looks at a worker once a second: keeps the gauges fresh, ends a process that stands still, tells what hangs."""

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

from stream.errors import StuckError
from stream.exactly_once.driver.engine import Engine, EngineStats
from stream.exactly_once.driver.intake import Held
from stream.exactly_once.units.lag import Lag
from stream.exactly_once.units.records import TopicPartition
from stream.settings import Settings
from stream.worker.metrics import WorkerMetrics

logger = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_SILENT_AFTER_S = 20.0  # the brokers are asked for the ends of the inputs every few seconds


class Watched(Protocol):
    """What the watch needs of the worker's app; consumer and timer are Faust's."""

    settings: Settings
    metrics: WorkerMetrics
    waiting_for: str | None
    consumer: Any
    timer: Any

    @property
    def engine(self) -> Engine:
        """The engine."""
        ...

    @property
    def held(self) -> Mapping[int, Held]:
        """The input partitions that are held back, by number."""
        ...

    @property
    def not_ready_because(self) -> str | None:
        """Why no records are being processed, or None."""
        ...


def watch(app: Watched) -> None:
    """Have the app looked at by a timer of its own."""
    hanging = HangingTransactions(app.settings.time.stuck_after_s)
    encoded = 0

    async def look() -> None:
        nonlocal encoded
        engine = app.engine
        lag = engine.lag(app.consumer.positions())
        app.metrics.observe(engine.stats, lag, app.not_ready_because is None)
        app.metrics.show_held({number: held.hold.missing for number, held in app.held.items()})
        for line in hanging.look(lag):
            logger.warning("%s", line)
        behind = sum(one.stable_records for tp, one in lag.items() if tp.partition not in app.held)
        if app.metrics.encoded != encoded:  # where all texts are new a pass may take minutes
            encoded = app.metrics.encoded
            engine.stats.last_progress = time.monotonic()
        if app.waiting_for is not None:  # said on /readyz; ending the process would not bring it back
            engine.stats.last_progress = time.monotonic()
        stalled_s = engine.stalled_s(behind)
        limit_s = app.settings.time.stuck_after_s
        if stalled_s > limit_s:
            cause = why_stuck(engine.stats, behind, engine.state, engine.input_lag.silent_s)
            await engine.fail(
                StuckError(
                    f"No progress for {stalled_s:.0f} s (time.stuck_after_s={limit_s:g}) with {behind} records to "
                    f"fetch and {engine.stats.in_flight_records} in flight, while {engine.doing}.{cause}"
                )
            )

    app.timer(_INTERVAL_S, name="watch")(look)


def why_stuck(stats: EngineStats, behind: int, state: str, silent_s: float) -> str:
    """Return what is known of the cause, a sentence after a space; "" if that is nothing. Pure.

    silent_s: since the brokers last told where the inputs end.
    """
    if state != "running" or stats.in_flight_records or not behind:
        return ""
    if silent_s > _SILENT_AFTER_S:
        return f" The brokers have not answered for {silent_s:.0f} s."
    return " The brokers answer, and nothing is fetched from them: the consumer's fetcher has stopped."


class HangingTransactions:
    """Notices transactions of other producers that hold the inputs up. Pure.

    A worker does not end for one: the next start would wait at the same offset.
    """

    def __init__(self, after_s: float) -> None:
        """after_s: a transaction that has been open for longer is told of, once."""
        self._after_s = after_s
        self._told: dict[TopicPartition, int] = {}

    def look(self, lag: Mapping[TopicPartition, Lag]) -> list[str]:
        """Return what there is to say that was not said before."""
        lines = []
        for tp, one in lag.items():
            told = self._told.get(tp)
            if one.open_transaction_s > self._after_s and told != one.stable:
                self._told[tp] = one.stable
                lines.append(
                    f"{tp.topic}[{tp.partition}]: a transaction of another producer has been open at offset "
                    f"{one.stable} for {one.open_transaction_s:.0f} s, and {one.records} offsets wait for its end. "
                    "See 'A transaction hangs' in docs/operations.md"
                )
            elif told is not None and told != one.stable:
                del self._told[tp]
                lines.append(f"{tp.topic}[{tp.partition}]: the transaction at offset {told} has ended")
        return lines
