"""Every example is in exactly one request, also when two believe that they lead."""

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from schemas.records import TrainingRequest
from schemas.wire import Codec
from stream.exactly_once.errors import FatalTransactionError
from stream.handover.leader import HandoverLeader
from stream.handover.rule import HandoverRule
from sway.cli import app
from tests.integration.conftest import Topics, wait_for


def lead(topics: Topics) -> HandoverLeader:
    return HandoverLeader(
        {"bootstrap.servers": topics.bootstrap_servers},
        topics.group("handover"),
        examples=topics.name("examples"),
        training=topics.name("training"),
        codec=Codec(TrainingRequest),
        rule=HandoverRule(10, 1000),
    )


def read_to_end(leader: HandoverLeader) -> None:
    def read() -> bool:
        leader.read(0.2)
        return leader.caught_up

    wait_for(read, "end of the examples")


def requests(topics: Topics) -> list[TrainingRequest]:
    consumer = Consumer(
        {
            "bootstrap.servers": topics.bootstrap_servers,
            "group.id": topics.group("audit"),
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topics.name("training"), 0, 0)])
    found = []
    while (message := consumer.poll(10)) is not None and message.error() is None:
        found.append(Codec(TrainingRequest).decode(message.value()))
    consumer.close()
    return found


def test_two_leaders_hand_over_every_example_once_and_without_a_gap(topics: Topics) -> None:
    topics.create("examples", 2)
    topics.create("training")
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers, "transactional.id": topics.prefix})
    producer.init_transactions(30)
    for _ in range(3):  # each transaction's marker is a hole in the offsets
        producer.begin_transaction()
        for number in range(4):
            producer.produce(topics.name("examples"), b"example", partition=number % 2)
        producer.commit_transaction(30)
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
        with lead(topics) as second:  # the first still believes that it leads
            with pytest.raises(FatalTransactionError):
                first.hand_over(forced=True)
            read_to_end(second)
            rest = second.hand_over(forced=True)
            assert rest is not None
            assert (rest.reason, rest.examples) == ("forced", 2)
            assert second.hand_over(forced=True) is None
    assert [request.request_id for request in requests(topics)] == [made.request_id, rest.request_id]
    reached = {0: 0, 1: 0}
    for request in (made, rest):
        for part in request.ranges:
            assert part.start == reached[part.partition]
            reached[part.partition] = part.end


def test_handoff_prints_what_it_hands_over_and_then_that_there_is_nothing_new(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.create("examples", 2)
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
    assert again.output == "nothing new\n"
    assert [request.examples for request in requests(topics)] == [2, 1]
    assert all(request.request_id in first.output for request in requests(topics))
