"""What the log leaves out: the same trouble of the Kafka clients again and again while brokers are away."""

import logging
import threading
import time
from collections.abc import Callable

_INTERVAL_S = 10.0  # of one kind; there are some ten kinds, so that a line a second remains
_LIBRDKAFKA = "%s [%s] %s"
"""How confluent-kafka hands on what librdkafka logs: its kind, the client, the text."""
_LIBRDKAFKA_KINDS = frozenset({"FAIL", "ERROR", "REQTMOUT", "GETPID", "ADDOFFSETS"})
"""Those that come with connections and coordinators; TXNERR and others always tell something new."""
_LOGGERS = frozenset({"stream.exactly_once.kafka.topics"})  # besides all of aiokafka's
_DECIDED = "_sway_client_trouble"
"""The attribute of a record that keeps which filter decided about it, and how."""

Kind = tuple[int, str, str]
"""Level, logger and text of what is the same trouble."""


class ClientTrouble(logging.Filter):
    """Lets a kind of trouble through at once, and then every 10 s with how often it has come since.

    A kind is a level and a message before its arguments are put in, so all brokers and clients count together.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._lock = threading.Lock()
        self._passed_at: dict[Kind, float] = {}
        self._left_out: dict[Kind, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether to log it, and add to its text what was left out; every handler gets the same answer."""
        decided: tuple[ClientTrouble, bool] | None = record.__dict__.get(_DECIDED)
        if decided is not None and decided[0] is self:
            return decided[1]
        passes = self._passes(record)
        record.__dict__[_DECIDED] = self, passes
        return passes

    def _passes(self, record: logging.LogRecord) -> bool:
        kind = _kind(record)
        if kind is None:
            return True
        with self._lock:
            now = self._now()
            since_s = now - self._passed_at.get(kind, -_INTERVAL_S)
            if since_s < _INTERVAL_S:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return False
            self._passed_at[kind] = now
            left_out = self._left_out.pop(kind, 0)
        if left_out:
            record.msg = f"{record.getMessage()} (and {left_out} like it in the {since_s:.0f} s before)"
            record.args = None
        return True


def _kind(record: logging.LogRecord) -> Kind | None:
    """Return what records of the same trouble have in common; None for what is always logged."""
    text = str(record.msg)
    if text == _LIBRDKAFKA and isinstance(record.args, tuple) and record.args:
        kind = str(record.args[0])
        return (record.levelno, "librdkafka", kind) if kind in _LIBRDKAFKA_KINDS else None
    if record.name.split(".")[0] == "aiokafka" or record.name in _LOGGERS:
        return record.levelno, record.name, text
    return None


_client_trouble = ClientTrouble()


def quiet_clients() -> None:
    """Have every handler of the root logger leave out what repeats; may be called again."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_client_trouble)  # the same one each time: it is added once
