"""Faust in batches and Kafka transactions, exactly once.

Knows nothing of Sway and could be a package of its own; docs/exactly-once.md tells how it works and how to
use it. A program gives a `Processor` (what to do with records) and, if it needs one, a `Scorer` (slow work
off the event loop) to an `ExactlyOnceApp`.
"""

from stream.exactly_once.app import ExactlyOnceApp, ExactlyOnceConfig
from stream.exactly_once.errors import ExactlyOnceError
from stream.exactly_once.processor import Hold, Processor, Scorer, Work
from stream.exactly_once.records import Epoch, Output, RecordBatch, SourceRecord
from stream.exactly_once.table import LayeredTable
from stream.exactly_once.unit import Unit

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
