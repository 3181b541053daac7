"""What the fault suite records about a duplicate answer: both copies and their producers."""

from pathlib import Path

from confluent_kafka import Producer

from sway.embedded import EmbeddedKafka
from sway.embedded.properties import DATA_FOLDER
from tests.faults.doubled import keep_doubled
from tests.integration.conftest import Topics


def test_both_copies_are_recorded_with_producers_and_markers(
    kafka: EmbeddedKafka, topics: Topics, tmp_path: Path
) -> None:
    scores = topics.create("scores")
    for end in ("abort", "commit"):
        producer = Producer(
            {"bootstrap.servers": topics.bootstrap_servers, "transactional.id": f"{topics.prefix}-{end}"}
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(scores, b"the same answer")
        assert producer.flush(30) == 0
        producer.abort_transaction(30) if end == "abort" else producer.commit_transaction(30)
    event = ("events", 0, 7)
    data = kafka.log_path.parent / DATA_FOLDER
    summary = keep_doubled(
        {event: [(scores, 0, 0), (scores, 0, 2)], ("events", 0, 8): [(scores, 0, 9)]},
        [("__transaction_state", 0)],
        lambda topic, partition: data / f"{topic}-{partition}",
        tmp_path,
    )
    lines = [line.strip() for line in summary.read_text().splitlines()]
    assert lines[:2] == ["1 records were answered more than once", "events[0]@7 was answered at"]
    kinds = [line.split(": baseOffset: ")[0] for line in lines[2:]]
    assert kinds == [f"{scores}[0]@0", "records", "ABORT", f"{scores}[0]@2", "records", "COMMIT"]
    assert all("producerEpoch: " in line for line in lines if "baseOffset" in line)
    assert {path.name for path in tmp_path.iterdir()} == {
        "doubled.txt",
        f"{scores}-0.txt",
        "__transaction_state-0.txt",
    }
