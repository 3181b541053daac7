"""Two workers, one killed and back: one score or dead letter for each event, made from the state that stayed."""

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from model.registry import ModelRegistry
from model.tokens import EncodedText
from schemas.records import BehaviorEvent, InfluenceScore, Outcome
from schemas.validate import check_event, check_outcome
from stream.behaviours import WindowCodec
from stream.windows import WindowLimits
from tests.integration.conftest import wait_for
from tests.integration.workers import Sway, Worker
from tests.plain_labels import PlainLabels
from tests.plain_windows import PlainWindows

pytestmark = pytest.mark.faults

EVENTS = 2000
USERS = [f"user-{number}" for number in range(25)]
FILMS = ["Alien (1979) horror", "Brazil (1985) dystopia", "Casablanca (1942)", "Amélie 🎬 <b>2001</b>", ""]
NOW_MS = int(time.time() * 1000)
YEAR_9999_MS = 253_402_300_799_000
LIMITS = WindowLimits()
MAX_ITEM_TEXT_CHARS = 512

Input = BehaviorEvent | Outcome | bytes | None
Reasons = Callable[[BehaviorEvent], Input]
BAD: dict[str, Reasons] = {
    "bad_magic": lambda _one: b"\xff{not Avro}",
    "unknown_schema": lambda _one: b"\xc3\x01" + b"\x01" * 8 + b"?",
    "empty": lambda _one: None,
    "missing_user_id": lambda one: BehaviorEvent(one.event_id, "", "watch", one.occurred_at),
    "missing_event_id": lambda one: BehaviorEvent("", one.user_id, "watch", one.occurred_at),
    "not_finite": lambda one: BehaviorEvent(
        one.event_id, one.user_id, "watch", one.occurred_at, value=math.nan
    ),
    "time_in_future": lambda one: BehaviorEvent(one.event_id, one.user_id, "watch", YEAR_9999_MS),
    "time_before_1970": lambda one: BehaviorEvent(one.event_id, one.user_id, "watch", -1),
}


def inputs() -> Iterator[tuple[Input, str | None]]:
    """Events with their outcomes among them and bad ones, and the reason of a dead letter where one is due."""
    draw = random.Random(7)  # noqa: S311
    scored: list[BehaviorEvent] = []
    bad = list(BAD.items())
    for number in range(EVENTS):
        user = draw.choice(USERS)
        late_ms = draw.choice([0, 0, 0, 60_000, 3_600_000])  # some come late, some of those again
        one = BehaviorEvent(
            f"e{number}",
            user,
            draw.choice(["watch", "rate", "purchase"]),
            NOW_MS - 60_000 * (EVENTS - number) // 10 - late_ms,
            f"i{number % 50}",
            draw.choice(FILMS) if number % 97 else "endless " * 500,
            draw.choice([None, 3.0, 20.0, 4000.0]),
        )
        if number % 50 == 25:
            reason, spoil = bad[number // 50 % len(bad)]
            yield spoil(one), reason
            continue
        if scored and number % 40 == 3:
            one = draw.choice(scored[-20:])  # its producer sends it again
        yield one, None
        scored.append(one)
        if number % 3 == 0:
            known = draw.choice(scored[-60:])
            yield (
                Outcome(known.event_id, known.user_id, float(draw.random() < 0.6), NOW_MS, draw.random()),
                None,
            )
        if number % 200 == 100:
            yield Outcome(one.event_id, one.user_id, 7.0, NOW_MS), "out_of_range"
            yield Outcome("never-seen", one.user_id, 1.0, NOW_MS), None


def feed(sway: Sway, count: int, source: Iterator[tuple[Input, str | None]], reasons: Counter[str]) -> None:
    """Produce the next inputs."""
    for _ in range(count):
        drawn = next(source, None)
        if drawn is None:
            break
        what, reason = drawn
        sway.produce(what, key="user-1" if isinstance(what, bytes | None) else None)
        if reason is not None:
            reasons[reason] += 1
    sway.flush()


@pytest.fixture
def workers(sway: Sway) -> dict[str, Worker]:
    """Two workers with small units, so that several are open at once."""
    sway.create_topics()
    limits = {"SWAY_UNITS__MAX_RECORDS": 40, "SWAY_UNITS__LINGER_S": 0.01}
    started = {name: sway.worker(name, **limits).start() for name in "ab"}
    for worker in started.values():
        worker.wait_until_ready()
    return started


def test_every_event_has_one_score_or_dead_letter_and_the_state_equals_a_plain_loop(
    sway: Sway, workers: dict[str, Worker], registry: Path
) -> None:
    source, reasons = inputs(), Counter[str]()
    first, second = workers.values()
    wait_for(
        lambda: all(
            worker.metric('sway_lag_records{partition="0",topic="x"}') == 0 for worker in workers.values()
        ),
        "pages",
    )
    feed(sway, 700, source, reasons)
    second.kill()
    feed(sway, 700, source, reasons)
    second.start()
    feed(sway, 5000, source, reasons)
    answers = sum(topic.endswith(".events") for (topic, *_), _ in sway.produced) + reasons["out_of_range"]
    sway.wait_for_answers(answers, 90)
    second.wait_until_ready()
    check_metrics([first, second])
    assert [first.terminate(), second.terminate()] == [0, 0]

    audit_answers(sway, reasons)
    texts = audit_texts_and_windows(sway, registry)
    audit_scores(sway, registry, texts)


def check_metrics(workers: list[Worker]) -> None:
    """Both have partitions and nothing left to do; the one that lived has counted its work."""
    wait_for(lambda: all(map(is_idle, workers)), "idleness of both")
    alive = workers[0]
    assert alive.metric("sway_scores_total") > 0
    assert alive.metric("sway_events_total") >= alive.metric("sway_scores_total")
    assert alive.metric('sway_dead_letters_total{reason="bad_magic"}') > 0
    assert alive.metric('sway_outcomes_total{result="joined"}') > 0
    assert alive.metric("sway_batch_fill_count") > 0
    assert alive.metric("sway_latency_seconds_count") > 0
    assert alive.metric('sway_model{device="cpu",dtype="fp32",version="tiny"}') == 1


def is_idle(worker: Worker) -> bool:
    lag = [line for line in worker.page("/metrics")[1].splitlines() if line.startswith("sway_lag_records{")]
    busy = worker.metric("sway_in_flight_records") or any(not line.endswith(" 0.0") for line in lag)
    return worker.metric("sway_ready") == 1 and bool(lag) and not busy


def audit_answers(sway: Sway, reasons: Counter[str]) -> None:
    """One answer an event, one dead letter a bad outcome, by source coordinates."""
    scores, letters = sway.scores(), sway.dead_letters()
    answered = Counter((s.source.topic, s.source.partition, s.source.offset) for s in scores)
    answered.update((letter.topic, letter.partition, letter.offset) for letter in letters)
    expected = {
        where
        for where, what in sway.produced
        if where[0].endswith(".events") or (isinstance(what, Outcome) and what.y > 1)
    }
    assert set(answered) == expected
    assert set(answered.values()) == {1}
    assert Counter(letter.reason for letter in letters) == reasons


def audit_texts_and_windows(sway: Sway, registry: Path) -> list[tuple[InfluenceScore, EncodedText]]:
    """Replay each partition in the order that the scores tell; compare flags, changelog and RocksDB.

    Returns every score with the text that it must have been made from.
    """
    tokenizer = ModelRegistry(registry).load("tiny").tokenizer
    labels = PlainLabels()
    scores = {(s.source.partition, s.source.offset): s for s in sway.scores()}
    events: dict[int, list[tuple[int, BehaviorEvent]]] = defaultdict(list)
    outcomes: dict[int, list[tuple[int, Outcome]]] = defaultdict(list)
    for (_topic, partition, offset), what in sorted(sway.produced, key=lambda pair: pair[0]):
        if isinstance(what, Outcome) and check_outcome(what, NOW_MS) is None:
            outcomes[partition].append((offset, what))
        if isinstance(what, BehaviorEvent) and check_event(what, NOW_MS) is None:
            events[partition].append((offset, what))

    texts = []
    windows = {}
    for partition, produced in events.items():
        waiting = outcomes[partition]
        plain = PlainWindows(
            tokenizer, LIMITS, MAX_ITEM_TEXT_CHARS
        )  # of one partition: each counts items for itself
        for offset, event in produced:
            score = scores[partition, offset]
            while waiting and waiting[0][0] < score.outcomes_next:
                plain.outcome(labels.outcome(waiting.pop(0)[1]))
            text, duplicate = plain.event(event, offset)
            if not duplicate:
                plain.outcome(labels.event(event))
            assert (score.event_id, score.duplicate, score.behaviours) == (
                event.event_id,
                duplicate,
                text.behaviours,
            )
            assert score.truncated == (text.truncated or len(event.item_text) > MAX_ITEM_TEXT_CHARS)
            texts.append((score, text))
        for _offset, outcome in waiting:
            plain.outcome(labels.outcome(outcome))
        windows.update({user: window for user, window in plain.windows.items() if window})

    audit_examples(sway, labels, texts)
    changelog = sway.changelog()
    codec = WindowCodec(tokenizer)
    kept = {key.decode(): codec.loads(raw) for users in changelog.values() for key, raw in users.items()}
    assert {user: [entry.behaviour for entry in window.entries] for user, window in kept.items()} == windows
    assert sway.stores() == changelog
    return texts


def audit_examples(sway: Sway, labels: PlainLabels, texts: list[tuple[InfluenceScore, EncodedText]]) -> None:
    """Each label in exactly one example, with the text and the estimates that were published."""
    examples = sway.examples()
    assert Counter((one.user_id, one.event_id, one.y, one.z) for one in examples) == Counter(labels.joined)
    scored = {(score.user_id, score.event_id): score for score, _text in reversed(texts)}
    for one in examples:
        score = scored[one.user_id, one.event_id]
        assert (one.y_hat, one.z_hat, one.item_id) == (score.y_hat, score.z_hat, score.item_id)


def audit_scores(sway: Sway, registry: Path, texts: list[tuple[InfluenceScore, EncodedText]]) -> None:
    """The published numbers are the model's for exactly these texts."""
    model = ModelRegistry(registry).load("tiny", dtype="fp32")
    assert len(texts) == len(sway.scores()) > EVENTS * 0.9
    for start in range(0, len(texts), 64):
        part = texts[start : start + 64]
        wanted = model.score_texts([text for _score, text in part]).numpy()
        found = np.array([(score.y_hat, score.z_hat) for score, _text in part])
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert {score.model_version for score, _text in texts} == {"tiny"}
