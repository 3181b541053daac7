"""The log reports unreachable brokers, but not eighty times a second."""

import logging
from collections import Counter
from collections.abc import Iterator

import pytest

from stream.log import RepeatFilter, limit_client_logs


class Clock:
    """A clock that a test advances."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class RecordedLines(logging.Handler):
    """A log handler that keeps the lines."""

    def __init__(self, repeat_filter: logging.Filter) -> None:
        super().__init__()
        self.addFilter(repeat_filter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> Iterator[RecordedLines]:
    handler = RecordedLines(RepeatFilter(clock))
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


def log_refused_connection(client: str, port: int) -> None:
    """Log a refused connection the way confluent-kafka forwards it from librdkafka."""
    text = f"[thrd:127.0.0.1:{port}/1]: 127.0.0.1:{port}/1: Connect failed: Connection refused"
    logging.getLogger("stream.exactly_once.kafka.offsets").error("%s [%s] %s", "FAIL", client, text)


def log_unreachable_broker(port: int) -> None:
    """Log one round of messages of a worker's clients about an unreachable broker."""
    for client in ("rdkafka#producer-1", "rdkafka#consumer-2"):
        log_refused_connection(client, port)
    logging.getLogger("aiokafka").error("Unable connect to node with id %s: %s", port, "refused")
    fetcher = logging.getLogger("aiokafka.consumer.fetcher")
    fetcher.error("Failed fetch messages from %s: %s", port, "NodeNotReadyError")
    coordinator = logging.getLogger("aiokafka.consumer.group_coordinator")
    coordinator.warning("Marking the coordinator dead (node %s)for group %s.", port, "sway")
    coordinator.error("Heartbeat session expired - marking coordinator dead")


def test_a_minute_without_brokers_logs_thirty_lines(log: RecordedLines, clock: Clock) -> None:
    sent = 0
    for _ in range(600):
        log_unreachable_broker(9092)
        sent += 6
        clock.now_s += 0.1
    assert sent == 3600
    # Five kinds of messages, every ten seconds.
    assert len(log.lines) == 5 * 6


def test_each_kind_is_logged_once_and_then_with_a_count(log: RecordedLines, clock: Clock) -> None:
    for port in (1, 2, 3):
        log_unreachable_broker(port)
        clock.now_s += 1
    kinds = Counter(line.split(":")[0].split("[")[0].split("(")[0] for line in log.lines)
    assert kinds == {
        "FAIL ": 1,
        "Unable connect to node with id 1": 1,
        "Failed fetch messages from 1": 1,
        "Marking the coordinator dead ": 1,
        "Heartbeat session expired - marking coordinator dead": 1,
    }
    clock.now_s += 7
    log_refused_connection("rdkafka#producer-1", 3)
    assert log.lines[-1].endswith("Connection refused (and 5 like it in the 10 s before)")
    clock.now_s += 10
    log_refused_connection("rdkafka#producer-1", 3)
    assert log.lines[-1].endswith("Connection refused")


def test_an_info_line_does_not_hide_an_error(log: RecordedLines, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("stream.exactly_once.kafka.offsets")
    caplog.set_level(logging.INFO, logger.name)
    logger.info("%s [%s] %s", "FAIL", "rdkafka#consumer-2", "Disconnected")
    logger.error("%s [%s] %s", "FAIL", "rdkafka#consumer-2", "Connection refused")
    assert [line.split("] ")[1] for line in log.lines] == ["Disconnected", "Connection refused"]


def test_other_client_messages_are_always_logged(log: RecordedLines) -> None:
    transactions = logging.getLogger("stream.exactly_once.kafka.transactions")
    for _ in range(3):
        transactions.error("%s [%s] %s", "TXNERR", "rdkafka#producer-1", "Current transaction failed")
        transactions.warning("Retrying a transaction call: %s", "timed out")
    assert len(log.lines) == 6


def test_all_handlers_of_a_filter_get_the_same_lines(clock: Clock) -> None:
    repeat_filter = RepeatFilter(clock)
    handlers = [RecordedLines(repeat_filter), RecordedLines(repeat_filter)]
    root = logging.getLogger()
    for handler in handlers:
        root.addHandler(handler)
    try:
        for _ in range(3):
            log_refused_connection("rdkafka#producer-1", 1)
        clock.now_s += 10
        log_refused_connection("rdkafka#producer-1", 1)
    finally:
        for handler in handlers:
            root.removeHandler(handler)
    first, second = (handler.lines for handler in handlers)
    assert first == second
    assert len(first) == 2
    assert first[1].endswith("Connection refused (and 2 like it in the 10 s before)")


def test_limiting_client_logs_twice_adds_one_filter() -> None:
    handler = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        limit_client_logs()
        limit_client_logs()
        assert [type(one) for one in handler.filters] == [RepeatFilter]
    finally:
        root.removeHandler(handler)
        for other in root.handlers:
            for one in [one for one in other.filters if isinstance(one, RepeatFilter)]:
                other.removeFilter(one)
