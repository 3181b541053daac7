"""Faust in batches and Kafka transactions, exactly once.

Knows nothing of Sway and could be a package of its own; docs/exactly-once.md tells how it works and how to
use it. A program gives a `Processor` (what to do with records) and, if it needs one, a `Scorer` (slow work
off the event loop) to an `ExactlyOnceApp`.

    units/    pure: records, units, layers, the order of delivery; imports no client of Kafka
    kafka/    transactions, offsets, topics, recovery, stores; imports no Faust
    driver/   the Faust app: transport, tables, intake, engine

The names below are loaded when they are first used, so that importing `units` loads neither Faust nor a client.
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

if not TYPE_CHECKING:  # else mypy would take any name for one of these

    def __getattr__(name: str) -> Any:
        for module, names in _HOMES.items():
            if name in names:
                return getattr(import_module(module), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
