"""While brokers are away the log says so, and not eighty times a second."""

import logging
from collections import Counter
from collections.abc import Iterator

import pytest

from stream.log import RepeatFilter, limit_client_logs


class Clock:
    """Stands still until a test moves it."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, wanted: logging.Filter) -> None:
        super().__init__()
        self.addFilter(wanted)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> Iterator[Kept]:
    kept = Kept(RepeatFilter(clock))
    root = logging.getLogger()
    root.addHandler(kept)
    yield kept
    root.removeHandler(kept)


def refused(client: str, port: int) -> None:
    """As confluent-kafka hands on what librdkafka logs."""
    text = f"[thrd:127.0.0.1:{port}/1]: 127.0.0.1:{port}/1: Connect failed: Connection refused"
    logging.getLogger("stream.exactly_once.kafka.offsets").error("%s [%s] %s", "FAIL", client, text)


def away(port: int) -> None:
    """One round of what the clients of a worker say of a broker that is away."""
    for client in ("rdkafka#producer-1", "rdkafka#consumer-2"):
        refused(client, port)
    logging.getLogger("aiokafka").error("Unable connect to node with id %s: %s", port, "refused")
    fetcher = logging.getLogger("aiokafka.consumer.fetcher")
    fetcher.error("Failed fetch messages from %s: %s", port, "NodeNotReadyError")
    coordinator = logging.getLogger("aiokafka.consumer.group_coordinator")
    coordinator.warning("Marking the coordinator dead (node %s)for group %s.", port, "sway")
    coordinator.error("Heartbeat session expired - marking coordinator dead")


def test_a_minute_without_brokers_is_less_than_a_line_a_second(log: Kept, clock: Clock) -> None:
    said = 0
    for _ in range(600):
        away(9092)
        said += 6
        clock.now_s += 0.1
    assert said == 3600
    assert len(log.lines) == 5 * 6  # five kinds, every ten seconds


def test_each_kind_is_told_at_once_and_later_with_how_often_it_came(log: Kept, clock: Clock) -> None:
    for port in (1, 2, 3):
        away(port)
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
    refused("rdkafka#producer-1", 3)
    assert log.lines[-1].endswith("Connection refused (and 5 like it in the 10 s before)")
    clock.now_s += 10
    refused("rdkafka#producer-1", 3)
    assert log.lines[-1].endswith("Connection refused")


def test_a_note_does_not_hide_an_error_of_the_same_kind(log: Kept, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("stream.exactly_once.kafka.offsets")
    caplog.set_level(logging.INFO, logger.name)
    logger.info("%s [%s] %s", "FAIL", "rdkafka#consumer-2", "Disconnected")
    logger.error("%s [%s] %s", "FAIL", "rdkafka#consumer-2", "Connection refused")
    assert [line.split("] ")[1] for line in log.lines] == ["Disconnected", "Connection refused"]


def test_what_says_something_new_each_time_is_always_logged(log: Kept) -> None:
    transactions = logging.getLogger("stream.exactly_once.kafka.transactions")
    for _ in range(3):
        transactions.error("%s [%s] %s", "TXNERR", "rdkafka#producer-1", "Current transaction failed")
        transactions.warning("Retrying a transaction call: %s", "timed out")
    assert len(log.lines) == 6


def test_each_handler_of_one_filter_gets_the_same_lines(clock: Clock) -> None:
    wanted = RepeatFilter(clock)
    handlers = [Kept(wanted), Kept(wanted)]
    root = logging.getLogger()
    for handler in handlers:
        root.addHandler(handler)
    try:
        for _ in range(3):
            refused("rdkafka#producer-1", 1)
        clock.now_s += 10
        refused("rdkafka#producer-1", 1)
    finally:
        for handler in handlers:
            root.removeHandler(handler)
    first, second = (handler.lines for handler in handlers)
    assert first == second
    assert len(first) == 2
    assert first[1].endswith("Connection refused (and 2 like it in the 10 s before)")


def test_the_handlers_of_the_process_are_given_it_once() -> None:
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
