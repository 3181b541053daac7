"""Every example is in exactly one request, also with two leaders."""

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from stream.exactly_once.units.errors import FatalTransactionError, StartError
from sway.cli import app
from tests.integration.conftest import Topics
from tests.integration.handovers import PARTITIONS, Examples, audit, lead, read_to_end, requests


def test_two_leaders_hand_over_every_example_once(topics: Topics) -> None:
    topics.create("examples", partitions=PARTITIONS)
    topics.create("training")
    Examples(topics).write_transactions(3)
    with lead(topics) as first:
        read_first = 0
        while first.waiting < 10:
            first.read(0.2)
            read_first += 1
            assert read_first < 100
        made = first.hand_over()
        assert made is not None
        assert (made.reason, made.examples) == ("labels", 10)
        read_to_end(first)
        with lead(topics) as second:
            # The second leader has fenced the first, which does not know it yet.
            with pytest.raises(FatalTransactionError):
                first.hand_over(forced=True)
            read_to_end(second)
            rest = second.hand_over(forced=True)
            assert rest is not None
            assert (rest.reason, rest.examples) == ("forced", 2)
            assert second.hand_over(forced=True) is None
    assert [request.request_id for request in requests(topics)] == [made.request_id, rest.request_id]
    audit(topics)


def test_waiting_time_counts_from_the_examples_timestamp(topics: Topics) -> None:
    topics.create("examples", partitions=PARTITIONS)
    topics.create("training")
    Examples(topics).write_transactions(1)
    late_ms = 0
    with lead(topics, now_ms=lambda: late_ms) as leader:
        read_to_end(leader)
        assert leader.hand_over() is None
        # The wait is measured from the record's timestamp, not from the leader's start.
        late_ms = 2_000_000_000_000
        made = leader.hand_over()
        assert made is not None
        assert (made.reason, made.examples) == ("time", 4)


def test_missing_topics_are_named(topics: Topics) -> None:
    topics.create("examples")
    with pytest.raises(StartError, match=rf"do not exist: {topics.name('training')}\. Create"):
        lead(topics)


def test_handoff_prints_its_request_or_no_new_examples(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.create("examples", partitions=2)
    topics.create("training")
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers})
    for number in range(3):
        producer.produce(topics.name("examples"), b"example", partition=number % 2)
    assert producer.flush(30) == 0
    monkeypatch.setenv("SWAY_KAFKA__BOOTSTRAP_SERVERS", topics.bootstrap_servers)
    monkeypatch.setenv("SWAY_TOPICS__PREFIX", topics.prefix)
    monkeypatch.setenv("SWAY_APP_ID", topics.prefix)
    monkeypatch.setenv("SWAY_HANDOVER__MIN_EXAMPLES", "2")
    first, again = (CliRunner().invoke(app, ["handoff"]) for _ in range(2))
    assert (first.exit_code, again.exit_code) == (0, 0), first.output + again.output
    assert again.output == "no new examples\n"
    assert [request.examples for request in requests(topics)] == [2, 1]
    assert all(request.request_id in first.output for request in requests(topics))
