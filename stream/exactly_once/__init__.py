"""Exactly-once batch processing with Faust and Kafka transactions.

This package does not depend on Sway. docs/exactly-once.md describes how it works and how to use it. A program passes
a `Processor` (its logic) and optionally a `Scorer` (slow work that runs off the event loop) to an `ExactlyOnceApp`.

    units/    pure: records, commit units, state layers, delivery order; imports no Kafka client
    kafka/    transactions, offsets, topics, recovery, stores; does not import Faust
    driver/   the Faust app: transport, tables, intake, engine

The names below are imported lazily, so that importing `units` loads neither Faust nor a Kafka client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream.exactly_once.driver.app import ExactlyOnceApp, ExactlyOnceConfig
    from stream.exactly_once.driver.table import LayeredTable
    from stream.exactly_once.units.errors import ExactlyOnceError
    from stream.exactly_once.units.processor import Hold, Processor, Scorer
    from stream.exactly_once.units.records import Epoch, Output, RecordBatch, SourceRecord
    from stream.exactly_once.units.unit import Unit, Work

__all__ = [
    "Epoch",
    "ExactlyOnceApp",
    "ExactlyOnceConfig",
    "ExactlyOnceError",
    "Hold",
    "LayeredTable",
    "Output",
    "Processor",
    "RecordBatch",
    "Scorer",
    "SourceRecord",
    "Unit",
    "Work",
]

_HOMES = {
    "stream.exactly_once.driver.app": ("ExactlyOnceApp", "ExactlyOnceConfig"),
    "stream.exactly_once.units.errors": ("ExactlyOnceError",),
    "stream.exactly_once.units.processor": ("Hold", "Processor", "Scorer"),
    "stream.exactly_once.units.records": ("Epoch", "Output", "RecordBatch", "SourceRecord"),
    "stream.exactly_once.driver.table": ("LayeredTable",),
    "stream.exactly_once.units.unit": ("Unit", "Work"),
}

if not TYPE_CHECKING:  # with a module-level __getattr__, mypy would accept any name

    def __getattr__(name: str) -> Any:
        for module, names in _HOMES.items():
            if name in names:
                return getattr(import_module(module), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
