"""`sway explain` on a processor's state and output. The topics are in memory; the models are tiny but real."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model import checkpoint
from model.influence import influence_of
from model.loading import Model
from model.manifest import Manifest
from model.network import TwoHeadedNetwork
from model.reading import Reading
from model.registry import ModelRegistry
from model.waiting import ScoredTexts
from schemas.records import LabeledExample, Outcome
from schemas.wire import Codec
from stream.scoring.batch import BatchContext
from stream.scoring.windows import WindowLimits
from stream.settings import Settings
from sway.cli import app
from sway.explain import topics
from sway.partitioner import murmur2_partition
from tests.support.late import publish_late
from tests.support.processing import NOW_MS, MemoryTable, Processing, event
from tests.support.tiny import publish_tiny

FILMS = ("alien", "heat", "amelie", "the third man", "brazil", "stalker")
PARTITIONS = 3
HOUR_MS = 3_600_000

TopicRecords = dict[str, dict[int, list[topics.Record]]]
"""Records by topic and partition."""


class Worker(Processing):
    """A processor whose texts a real model scores."""

    def __init__(self, model: Model, windows: WindowLimits | None = None) -> None:
        super().__init__(model.tokenizer, reading=model.reading, windows=windows)
        self.model = model
        self.processor.offer(model)

    def _score(self, context: BatchContext) -> ScoredTexts | None:
        if not context.pending:
            return None
        texts: list[Any] = [pending.text for pending in context.pending]
        found = self.model.score_texts(texts).numpy()
        return ScoredTexts(found[:, 0], found[:, 1], {}, self.model.version, "fp32")

    def watch(self, user: str, *, films: int, outcomes: int) -> None:
        """Let a user watch this many films, an hour apart, and deliver outcomes of the first ones."""
        for number, film in enumerate(FILMS[:films]):
            at_ms = NOW_MS - (9 - number) * HOUR_MS
            self.deliver(
                event(f"{user}-{number}", user, at_ms, item_id=film, item_text=f"{film} {'long ' * 30}")
            )
            if number < outcomes:
                self.deliver(Outcome(f"{user}-{number}", user, float(number % 2), at_ms))

    def topic_records(self) -> TopicRecords:
        """Return the records of the topics, partitioned by user."""
        settings = Settings()
        names = topics.TopicNames.of(settings)
        tables: dict[str, MemoryTable[object]] = {
            names.estimates: self.estimates,  # type: ignore[dict-item]
            names.pending: self.pending,  # type: ignore[dict-item]
            names.windows: self.table,  # type: ignore[dict-item]
        }
        found: TopicRecords = {name: {n: [] for n in range(PARTITIONS)} for name in (*tables, names.examples)}
        for name, table in tables.items():
            for (_, key), value in table.stored.items():
                if user := re.search(rb"ann|bob", key):
                    partition = murmur2_partition(user[0], PARTITIONS)
                    found[name][partition] += [(key, b"an older value"), (key, None), (key, value)]
        codec = Codec(LabeledExample)
        for example in self.published.examples:
            key = example.user_id.encode()
            found[names.examples][murmur2_partition(key, PARTITIONS)].append((key, codec.encode(example)))
        return found


class MemoryTopics:
    """Topics in memory."""

    def __init__(self, stored: TopicRecords) -> None:
        self._stored = stored

    def partitions(self, topic: str) -> int:
        return len(self._stored.get(topic, ()))

    def records(self, topic: str, partition: int | None, newest: int | None) -> Iterator[topics.Record]:
        for number, records in self._stored[topic].items():
            if partition in (None, number):
                yield from records[-newest:] if newest else records


@pytest.fixture
def store(
    tmp_path: Path, tiny_base: Path, tiny_network: TwoHeadedNetwork, monkeypatch: pytest.MonkeyPatch
) -> ModelRegistry:
    """A registry with one version of each reading. The settings name it."""
    store = ModelRegistry(tmp_path / "registry")
    checkpoint.save(tiny_network, tmp_path / "joint", tokenizer_from=tiny_base)
    store.publish(tmp_path / "joint", Manifest("joint", "tiny", 0))
    publish_late(store, "late", tiny_base, tmp_path / "late")
    monkeypatch.setenv("SWAY_MODEL__REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("SWAY_MODEL__DEVICE", "cpu")
    return store


Explain = Callable[..., tuple[int, str]]


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch) -> Explain:
    """Return a function that runs the command on the records of topics."""

    def run(stored: TopicRecords, *arguments: object, columns: int = 80) -> tuple[int, str]:
        monkeypatch.setattr(topics, "CommittedTopics", lambda *_: MemoryTopics(stored))
        result = CliRunner().invoke(
            app, ["explain", *map(str, arguments)], env={"COLUMNS": str(columns)}, catch_exceptions=False
        )
        return result.exit_code, result.stdout if result.exit_code == 0 else result.stderr

    return run


def rows(shown: str) -> list[str]:
    """Return the lines of the table of behaviours."""
    return [line.strip() for line in shown.splitlines() if re.match(r" *\d{4}-", line)]


def figures(shown: str, name: str) -> list[float]:
    """Return the figures in a line."""
    (line,) = [line for line in shown.splitlines() if line.split()[:1] == [name]]
    return [float(figure) for figure in line.split()[1:]]


@pytest.mark.parametrize("reading", Reading)
@pytest.mark.parametrize("number", [2, 5], ids=["labelled", "waiting"])
def test_an_event_is_rescored_with_and_without_each_behaviour(
    store: ModelRegistry, explain: Explain, reading: Reading, number: int
) -> None:
    worker = Worker(store.load(reading.value))
    worker.watch("bob", films=3, outcomes=1)
    worker.watch("ann", films=6, outcomes=4)
    code, shown = explain(worker.topic_records(), f"ann-{number}")
    assert code == 0, shown
    assert f"ann-{number} of ann, " in shown
    assert f"watch {FILMS[number]}" in shown
    assert f"scored by {reading.value}; " in shown
    assert ("label: 0" in shown) == (number == 2)
    score = worker.published.score(f"ann-{number}")
    published = influence_of(score.y_hat, score.z_hat, worker.model.lam)
    for name, value in (("y_hat", score.y_hat), ("z_hat", score.z_hat), ("influence", published)):
        assert figures(shown, name) == pytest.approx([value, value], abs=2e-4)
    found = rows(shown)
    assert len(found) == number
    effects = [float(re.findall(r"[+-]\d\.\d{4}", line)[0]) for line in found]
    assert [abs(effect) for effect in effects] == sorted((abs(effect) for effect in effects), reverse=True)
    assert any(effects)
    for film in FILMS[:number]:
        assert any(f"watch {film}" in line for line in found)
    outcomes = {line[:16]: re.findall(r" (0\.00|1\.00) ", line) for line in found}
    assert [len(outcomes[hour]) for hour in sorted(outcomes)] == [1] * min(number, 4) + [0] * max(
        number - 4, 0
    )
    assert ("attention" in shown) == (reading is Reading.LATE)
    assert max(map(len, shown.splitlines())) <= 80


def test_the_newest_event_of_a_user_is_found(store: ModelRegistry, explain: Explain) -> None:
    worker = Worker(store.load("late"))
    worker.watch("ann", films=6, outcomes=6)
    worker.watch("bob", films=4, outcomes=3)
    assert "ann-5 of ann" in explain(worker.topic_records(), "--user", "ann")[1]
    assert "bob-3 of bob" in explain(worker.topic_records(), "--user", "bob")[1]
    assert "bob-1 of bob" in explain(worker.topic_records(), "bob-1", "--user", "bob")[1]
    assert explain(worker.topic_records(), "bob-1", "--user", "ann")[1].startswith(
        "sway: there is no event bob-1 of user ann: "
    )


def test_texts_outside_the_window_are_looked_up_in_examples(store: ModelRegistry, explain: Explain) -> None:
    worker = Worker(store.load("late"), WindowLimits(max_behaviours=2))
    worker.watch("ann", films=6, outcomes=3)
    stored = worker.topic_records()
    code, shown = explain(stored, "ann-3")
    assert code == 0, shown
    assert len(rows(shown)) == 2
    assert "(left the window)" not in shown
    assert figures(shown, "influence")[0] == pytest.approx(figures(shown, "influence")[1], abs=2e-4)
    code, shown = explain(stored, "ann-3", "--examples", 1)
    assert [("(left the window)" in line, "watch amelie" in line) for line in sorted(rows(shown))] == [
        (True, False),
        (False, True),
    ]
    assert "The texts of 1 behaviours are no longer stored." in shown


def test_words_that_left_the_window_are_looked_for_in_pending_labels(
    store: ModelRegistry, explain: Explain
) -> None:
    worker = Worker(store.load("late"), WindowLimits(max_behaviours=2))
    worker.watch("bob", films=3, outcomes=0)
    worker.watch("ann", films=6, outcomes=0)
    code, shown = explain(worker.topic_records(), "ann-3", "--examples", 1)
    assert code == 0, shown
    assert [film for film in FILMS if any(f"watch {film}" in line for line in rows(shown))] == [
        "heat",
        "amelie",
    ]
    assert "(left the window)" not in shown
    for name in ("y_hat", "z_hat", "influence"):
        assert figures(shown, name)[0] == pytest.approx(figures(shown, name)[1], abs=2e-4)


def test_a_user_without_history_has_no_effects(store: ModelRegistry, explain: Explain) -> None:
    worker = Worker(store.load("joint"))
    worker.watch("ann", films=1, outcomes=0)
    code, shown = explain(worker.topic_records(), "ann-0")
    assert code == 0, shown
    assert rows(shown) == []
    assert "The user had no earlier behaviours." in shown


@pytest.mark.parametrize("reading", Reading)
def test_the_effects_are_plotted(
    store: ModelRegistry, explain: Explain, reading: Reading, tmp_path: Path
) -> None:
    worker = Worker(store.load(reading.value))
    worker.watch("ann", films=4, outcomes=2)
    code, shown = explain(worker.topic_records(), "ann-3", "--image", tmp_path / "new" / "why.png")
    assert code == 0, shown
    assert (tmp_path / "new" / "why.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path / "new" / "why.png") in shown


def test_the_champion_explains_events_of_a_removed_version(
    store: ModelRegistry, explain: Explain, tmp_path: Path, tiny_base: Path
) -> None:
    worker = Worker(store.load("late"))
    worker.watch("ann", films=4, outcomes=2)
    stored, other = worker.topic_records(), ModelRegistry(tmp_path / "other")
    code, message = explain(stored, "ann-3", "--registry", tmp_path / "other")
    assert (code, message.count("\n")) == (1, 1)
    assert "has neither late, which scored the event, nor a champion" in message
    other.promote(publish_late(other, "next", tiny_base, tmp_path / "next", seed=3))
    code, shown = explain(stored, "ann-3", "--registry", tmp_path / "other", columns=200)
    assert code == 0, shown
    assert "late is no longer in the registry: recomputed with the champion, next." in shown
    other.promote(publish_tiny(other, "whole", tiny_base, tmp_path / "whole", seed=3))
    code, message = explain(stored, "ann-3", "--registry", tmp_path / "other")
    assert (code, message) == (
        1,
        "sway: whole needs the full text, but none is stored for event ann-3, which late scored\n",
    )


def test_failures_are_reported_in_one_line(store: ModelRegistry, explain: Explain) -> None:
    worker = Worker(store.load("late"))
    worker.watch("ann", films=3, outcomes=1)
    stored = worker.topic_records()
    names = topics.TopicNames.of(Settings())
    assert explain(stored) == (1, "sway: give an event id, or a user with --user\n")
    assert explain(stored, "nothing") == (
        1,
        "sway: there is no event nothing: neither among the events with pending labels nor in the newest 20,000 "
        "offsets of any partition of sway.examples (--examples searches further back)\n",
    )
    assert explain(stored, "--user", "cat")[1].startswith("sway: there is no scored event of user cat: ")
    assert explain({}, "ann-1")[1].startswith("sway: there is no topic sway-estimates-changelog: no worker ")
    stored[names.estimates] = {
        number: [(key, value) for key, value in records if not key.startswith(b"\xff")]
        for number, records in stored[names.estimates].items()
    }
    assert explain(stored, "ann-2") == (
        1,
        "sway: event ann-2 was scored by an older version of the worker, which did not store the input of scores\n",
    )


def test_an_ambiguous_event_id_needs_the_user(store: ModelRegistry, explain: Explain) -> None:
    worker = Worker(store.load("late"))
    worker.deliver(event("same", "ann", item_text="alien"))
    worker.deliver(event("same", "bob", item_text="heat"))
    assert explain(worker.topic_records(), "same") == (
        1,
        "sway: event same exists for 2 users: give one with --user, such as ann\n",
    )
    assert "same of bob" in explain(worker.topic_records(), "same", "--user", "bob")[1]
