"""A worker killed twice: every label is in exactly one example, and every example in exactly one request."""

import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from schemas.records import BehaviorEvent, Outcome
from sway.cli import app
from tests.integration.conftest import wait_for
from tests.integration.handovers import audit, requests
from tests.integration.workers import Sway, Visible
from tests.support.plain_labels import PlainLabels

pytestmark = pytest.mark.faults

NOW_MS = int(time.time() * 1000)
EVENTS = 1800
MIN_EXAMPLES = 20


def stream() -> Iterator[BehaviorEvent | Outcome]:
    """Yield events and outcomes; some outcomes come before their event, twice, or without an event."""
    draw = random.Random(4)  # noqa: S311
    sent: list[BehaviorEvent] = []
    for number in range(EVENTS):
        user = f"user-{draw.randrange(20)}"
        event = BehaviorEvent(
            f"e{number}", user, "watch", NOW_MS - EVENTS + number, f"i{number % 9}", "alien"
        )
        outcome = Outcome(event.event_id, user, draw.random(), NOW_MS, draw.random())
        if number % 10 == 0:
            yield outcome
            yield event
        elif number % 10 < 7:
            yield event
            yield outcome
        else:
            yield event  # its outcome never comes
        sent.append(event)
        if number % 10 == 5:
            # Repeat an event, and its outcome with another value.
            again = draw.choice(sent[-40:])
            yield again
            if int(again.event_id[1:]) % 10 < 7:
                yield Outcome(again.event_id, again.user_id, draw.random(), NOW_MS)
        if number % 100 == 50:
            yield Outcome("never-seen", user, 1.0, NOW_MS)


def test_crashes_neither_lose_nor_duplicate_labels_and_examples(
    sway: Sway, monkeypatch: pytest.MonkeyPatch
) -> None:
    sway.create_topics()
    worker = sway.worker(
        SWAY_HANDOVER__MIN_EXAMPLES=MIN_EXAMPLES, SWAY_UNITS__MAX_RECORDS=20, SWAY_UNITS__LINGER_S=0.01
    ).start()
    worker.wait_until_ready()
    labels, source = PlainLabels(), stream()

    def feed(count: int) -> None:
        for _, what in zip(range(count), source, strict=False):
            sway.produce(what)
            if isinstance(what, Outcome):
                labels.outcome(what)
            else:
                labels.event(what)
        sway.flush()

    with Visible(sway, ("examples",)) as examples:

        def some() -> bool:
            feed(10)
            return examples.count() >= 40

        wait_for(some, "examples")
        feed(600)
        worker.kill()  # while it processes these inputs
        assert examples.count() < len(labels.joined)

        feed(300)
        worker.start().wait_until_ready()
        wait_for(lambda: worker.metric("sway_handovers_total") >= 2, "requests")
        feed(600)
        worker.kill()  # while it labels and hands over
        made = requests(sway.topics)
        assert sum(request.examples for request in made) < len(labels.joined)

        shutil.rmtree(worker.state)  # the changelogs contain the whole state
        feed(10_000)
        worker.start().wait_until_ready()
        wait_for(lambda: examples.count() >= len(labels.joined), "the rest of the examples")
        sway.wait_for_answers(sum(topic.endswith(".events") for (topic, *_), _ in sway.produced))
    wait_for(lambda: len(requests(sway.topics)) > len(made), "a request of the last worker")
    assert worker.terminate() == 0
    assert "Traceback" not in worker.log_text()

    found = Counter((one.user_id, one.event_id, one.y, one.z) for one in sway.examples())
    assert found == Counter(labels.joined)
    assert len(found) > EVENTS / 2
    scored = {(score.user_id, score.event_id): score for score in reversed(sway.scores())}
    for one in sway.examples():
        score = scored[one.user_id, one.event_id]
        assert (one.y_hat, one.z_hat, one.model_version) == (score.y_hat, score.z_hat, score.model_version)

    for name, value in sway.environment.items():
        monkeypatch.setenv(name, value)
    by_hand = CliRunner().invoke(app, ["handoff"])
    assert by_hand.exit_code == 0, by_hand.output
    audit(sway.topics, partitions=sway.partitions)
    counts = Counter(request.examples for request in requests(sway.topics) if request.reason == "labels")
    assert set(counts) == {MIN_EXAMPLES}
