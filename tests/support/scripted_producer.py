"""A fake of librdkafka's transactional producer with scripted failures, which no broker gives on demand."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException


class ScriptedProducer:
    """Records its calls, and fails as scripted."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.connected = 0
        self.time_s = 0.0
        self.takes_s: dict[str, float] = {}
        self.calls: list[str] = []
        self.produced: list[tuple[Any, ...]] = []
        self.sent: list[Any] = []
        self.script: dict[str, list[Exception | None]] = {}
        self.hangs: threading.Event | None = None
        self._offset = 40
        self._undelivered: list[tuple[Callable[..., None], str]] = []

    def fails(self, call: str, *errors: Exception | None) -> None:
        """Script the next calls of this name: each fails with its error; None lets one succeed."""
        self.script[call] = list(errors)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        self.time_s += self.takes_s.get(name, 0.0)
        script = self.script.get(name)
        error = script.pop(0) if script else None
        if error is not None:
            raise error

    def init_transactions(self, timeout: float) -> None:
        self._call("init")

    def begin_transaction(self) -> None:
        self._call("begin")

    def produce(self, topic: str, value: Any, key: Any, **extra: Any) -> None:
        self._call("produce")
        on_delivery = extra.pop("on_delivery", None)
        self.produced.append((topic, key, value, extra))
        if on_delivery is not None:
            self._undelivered.append((on_delivery, topic))

    def send_offsets_to_transaction(self, positions: list[Any], metadata: bytes, timeout: float) -> None:
        self._call("offsets")
        if self.hangs is not None:
            assert self.hangs.wait(30)
        self.sent.append(({(tp.topic, tp.partition): tp.offset for tp in positions}, metadata))

    def commit_transaction(self, timeout: float) -> None:
        self._call("commit")
        for on_delivery, _topic in self._undelivered:
            self._offset += 1
            offset = self._offset
            on_delivery(None, SimpleNamespace(offset=lambda offset=offset: offset))
        self._undelivered.clear()

    def abort_transaction(self, timeout: float) -> None:
        self._call("abort")
        self._undelivered.clear()

    def purge(self) -> None: ...

    def flush(self, _timeout: float) -> int:
        self._call("flush")
        return 0

    def poll(self, timeout: float) -> int:
        self.calls.append("poll")
        return 0


def error(code: int, **kind: bool) -> KafkaException:
    return KafkaException(KafkaError(code, "why", **kind))
