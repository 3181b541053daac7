"""Checks the worker once a second: updates gauges, ends a stalled process, reports hanging transactions."""

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

from stream.errors import StuckError
from stream.exactly_once.driver.engine import Engine, EngineStats
from stream.exactly_once.driver.intake import PausedPartition
from stream.exactly_once.units.lag import Lag
from stream.exactly_once.units.records import TopicPartition
from stream.settings import Settings
from stream.worker.metrics import WorkerMetrics

logger = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_SILENT_AFTER_S = 20.0  # the end offsets of the inputs are requested every few seconds


class Watched(Protocol):
    """The part of the worker's app that the watchdog needs; consumer and timer are Faust's."""

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
    def paused_partitions(self) -> Mapping[int, PausedPartition]:
        """The input partitions that are paused, by number."""
        ...

    @property
    def not_ready_reason(self) -> str | None:
        """The reason why no records are processed, or None."""
        ...


def watch(app: Watched) -> None:
    """Start a timer that checks the app."""
    hanging = HangingTransactions(app.settings.time.stuck_after_s)
    encoded = 0

    async def look() -> None:
        nonlocal encoded
        engine = app.engine
        lag = engine.lag(app.consumer.positions())
        app.metrics.observe(engine.stats, lag, app.not_ready_reason is None)
        app.metrics.show_held(
            {number: paused.hold.missing for number, paused in app.paused_partitions.items()}
        )
        for line in hanging.look(lag):
            logger.warning("%s", line)
        behind = sum(
            one.stable_records for tp, one in lag.items() if tp.partition not in app.paused_partitions
        )
        if app.metrics.encoded != encoded:  # a forward pass may take minutes when all texts are new
            encoded = app.metrics.encoded
            engine.stats.last_progress = time.monotonic()
        if app.waiting_for is not None:  # reported on /readyz; ending the process would not help
            engine.stats.last_progress = time.monotonic()
        stalled_s = engine.stalled_s(behind)
        limit_s = app.settings.time.stuck_after_s
        if stalled_s > limit_s:
            cause = stall_cause(engine.stats, behind, engine.state, engine.input_lag.silent_s)
            await engine.fail(
                StuckError(
                    f"No progress for {stalled_s:.0f} s (time.stuck_after_s={limit_s:g}) with {behind} records to "
                    f"fetch and {engine.stats.in_flight_records} in flight, while {engine.status}.{cause}"
                )
            )

    app.timer(_INTERVAL_S, name="watch")(look)


def stall_cause(stats: EngineStats, behind: int, state: str, silent_s: float) -> str:
    """Return the known cause as a sentence after a space, or "" if unknown.

    silent_s: seconds since the brokers last answered with the end offsets of the inputs.
    """
    if state != "running" or stats.in_flight_records or not behind:
        return ""
    if silent_s > _SILENT_AFTER_S:
        return f" The brokers have not answered for {silent_s:.0f} s."
    return " The brokers answer but nothing is fetched from them: the consumer's fetcher has stopped."


class HangingTransactions:
    """Detects transactions of other producers that block the inputs.

    The worker does not end because of one: after a restart it would wait at the same offset.
    """

    def __init__(self, after_s: float) -> None:
        """after_s: a transaction that has been open for longer is reported once."""
        self._after_s = after_s
        self._reported: dict[TopicPartition, int] = {}

    def look(self, lag: Mapping[TopicPartition, Lag]) -> list[str]:
        """Return the messages that were not reported before."""
        lines = []
        for tp, one in lag.items():
            reported = self._reported.get(tp)
            if one.open_transaction_s > self._after_s and reported != one.stable:
                self._reported[tp] = one.stable
                lines.append(
                    f"{tp.topic}[{tp.partition}]: a transaction of another producer has been open at offset "
                    f"{one.stable} for {one.open_transaction_s:.0f} s, and {one.records} offsets wait for its end. "
                    "See 'A transaction hangs' in docs/operations.md"
                )
            elif reported is not None and reported != one.stable:
                del self._reported[tp]
                lines.append(f"{tp.topic}[{tp.partition}]: the transaction at offset {reported} has ended")
        return lines
