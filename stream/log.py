"""Log set-up, and a filter that limits repeated messages of the Kafka clients while brokers are unreachable."""

import logging
import sys
import threading
import time
from collections.abc import Callable

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_QUIET = ("aiokafka", "faust", "httpx", "httpx2", "mode")
_INTERVAL_S = 10.0  # per kind; with about ten kinds this leaves about one line per second
_LIBRDKAFKA = "%s [%s] %s"
"""The format of librdkafka's messages as logged by confluent-kafka: kind, client, text."""
_LIMITED_KINDS = frozenset({"FAIL", "ERROR", "REQTMOUT", "GETPID", "ADDOFFSETS"})
"""Kinds caused by connections and coordinators; TXNERR and other kinds always carry new information."""
_LOGGERS = frozenset({"stream.exactly_once.kafka.topics"})  # in addition to all loggers of aiokafka
_DECISION = "_sway_client_trouble"
"""Attribute of a log record that stores the filter that decided and its decision."""

Kind = tuple[int, str, str]
"""Level, logger and text that repeated messages have in common."""


class RepeatFilter(logging.Filter):
    """Passes the first message of a kind, then one per 10 s with the number of suppressed messages.

    A kind is a level and a message format without arguments, so messages of all brokers and clients count together.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._lock = threading.Lock()
        self._passed_at: dict[Kind, float] = {}
        self._suppressed: dict[Kind, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record, and append the suppressed count; all handlers get the same answer."""
        decision: tuple[RepeatFilter, bool] | None = record.__dict__.get(_DECISION)
        if decision is not None and decision[0] is self:
            return decision[1]
        passes = self._passes(record)
        record.__dict__[_DECISION] = self, passes
        return passes

    def _passes(self, record: logging.LogRecord) -> bool:
        kind = _kind(record)
        if kind is None:
            return True
        with self._lock:
            now = self._now()
            since_s = now - self._passed_at.get(kind, -_INTERVAL_S)
            if since_s < _INTERVAL_S:
                self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
                return False
            self._passed_at[kind] = now
            suppressed = self._suppressed.pop(kind, 0)
        if suppressed:
            record.msg = f"{record.getMessage()} (and {suppressed} like it in the {since_s:.0f} s before)"
            record.args = None
        return True


def _kind(record: logging.LogRecord) -> Kind | None:
    """Return the kind of a record; None for a record that is always logged."""
    text = str(record.msg)
    if text == _LIBRDKAFKA and isinstance(record.args, tuple) and record.args:
        kind = str(record.args[0])
        return (record.levelno, "librdkafka", kind) if kind in _LIMITED_KINDS else None
    if record.name.split(".")[0] == "aiokafka" or record.name in _LOGGERS:
        return record.levelno, record.name, text
    return None


_repeat_filter = RepeatFilter()


def set_up_log(level: int) -> None:
    """Log to stderr, raise the log level of libraries, and limit the messages of the Kafka clients."""
    logging.basicConfig(level=level, stream=sys.stderr, format=_FORMAT)
    for name in _QUIET:  # their INFO messages concern only their internals
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    limit_client_logs()


def limit_client_logs() -> None:
    """Add the filter to every handler of the root logger; may be called repeatedly."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_repeat_filter)  # addFilter ignores a filter that is already there
