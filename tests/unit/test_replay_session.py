"""What a replay must be begun and gone on with: the plan's check, and which settings decide."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.contracts import Schema
from schemas.errors import ContractError
from schemas.records import DeadLetter, InfluenceScore, LabeledExample
from stream.learning_settings import AttributionRule
from stream.replay.errors import PlanError
from stream.replay.plan import ReplayPlan
from stream.replay.ranges import Newest, Oldest
from stream.replay.session import ReplaySession, Request
from stream.settings import Settings

REQUEST = Request("again", Oldest(), Newest(), "s.again", Path("out"), "v7")
IDS = {"sway.events": "E1", "sway.outcomes": "O1"}


class Brokers:
    """In place of the planner: topics have the ids given."""

    ids: Mapping[str, str] = IDS

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> "Brokers":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def topic_ids(self, topics: list[str]) -> Mapping[str, str]:
        """The ids of topics."""
        return {topic: self.ids[topic] for topic in topics}


@pytest.fixture(autouse=True)
def brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster is there."""
    monkeypatch.setattr("stream.replay.session.Planner", Brokers)


def session(
    request: Request = REQUEST, change: Callable[[Settings], object] = lambda _: None
) -> ReplaySession:
    """A session with the default settings, but for one change."""
    settings = Settings()
    change(settings)
    return ReplaySession(settings, request)


def plan(**changes: Any) -> ReplayPlan:
    """The plan that REQUEST was begun with."""
    digest = session().settings_digest()
    made = ReplayPlan("again", "v7", False, "topic s.again and parquet", digest, 77, IDS, {})
    return replace(made, **changes)


# --- going on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        replace(REQUEST, model_version=None),  # whoever names none goes on with the plan's
        replace(REQUEST, start=Newest(), end=Oldest(), warm_up_ms=5),  # the range stands in the plan
        replace(REQUEST, parquet=Path("elsewhere")),  # a machine may know the folder by another name
    ],
)
def test_the_same_command_goes_on(request_: Request) -> None:
    session(request_).check(plan())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_version": "v8"}, "another model version (v7, now v8)."),
        ({"parquet": None}, "another output (topic s.again and parquet, now topic s.again)."),
        ({"topic": None}, "another output (topic s.again and parquet, now parquet)."),
        ({"topic": "t"}, "another output (topic s.again and parquet, now topic t and parquet)."),
        ({"with_labels": True}, "another labels (False, now True)."),
        (
            {"model_version": "v8", "with_labels": True},
            "another model version (v7, now v8), another labels (False, now True).",
        ),
    ],
)
def test_another_command_under_the_same_id_is_refused_with_all_that_differs(
    change: dict[str, Any], said: str
) -> None:
    said = f"Replay 'again' was started with {said} Continue with the original values, or give this replay another id"
    with pytest.raises(PlanError, match=re.escape(said)):
        session(replace(REQUEST, **change)).check(plan())


def test_other_settings_that_decide_texts_are_refused() -> None:
    with pytest.raises(PlanError, match=r"another settings that affect texts, or dtype \([0-9a-f]{12}, now "):
        session(change=lambda settings: setattr(settings.window, "max_behaviours", 7)).check(plan())


def test_a_topic_that_was_made_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Brokers, "ids", IDS | {"sway.outcomes": "O2"})
    with pytest.raises(
        PlanError, match=r"Recreated since replay 'again' was started: sway\.outcomes\. Its offsets"
    ):
        session().check(plan())
    session().check(plan(topic_ids={"sway.events": "E1"}))  # outcomes were not read


# --- settings -----------------------------------------------------------------------------------------------

RULE = AttributionRule(action="view", by="purchase")

DECIDING: list[tuple[str, str, Any]] = [
    ("window", "max_behaviours", 49),
    ("window", "max_bytes", 5_000),
    ("text", "max_item_text_chars", 100),
    ("labels", "outcomes", False),
    ("labels", "rules", (RULE,)),
    ("labels", "weights", {"purchase": 1.0}),
    ("labels", "negative", 0.0),
    ("labels", "horizon_s", 60.0),
    ("labels", "grace_s", 60.0),
    ("time", "max_ahead_s", 60.0),
    ("wire", "max_record_bytes", 1_000),
]
OTHERS: list[tuple[str, str, Any]] = [
    ("labels", "ticks", False),
    ("text", "cached_behaviours", 10),
    ("replay", "batch_records", 10),
    ("replay", "batch_bytes", 10),
    ("replay", "partitions_at_once", 7),
    ("model", "max_batch_rows", 10),
    ("kafka", "bootstrap_servers", "elsewhere:9092"),
    ("units", "max_records", 10),
]


def digest_with(part: str, name: str, value: Any) -> str:
    """The digest with one setting changed."""
    return session(change=lambda settings: setattr(getattr(settings, part), name, value)).settings_digest()


@pytest.mark.parametrize(("part", "name", "value"), DECIDING)
def test_each_setting_that_decides_texts_dead_letters_or_labels_is_in_the_digest(
    part: str, name: str, value: Any
) -> None:
    assert digest_with(part, name, value) != session().settings_digest()


def test_every_setting_of_windows_and_labels_is_tried() -> None:
    settings = Settings()
    for part in ("window", "labels"):
        tried = {name for where, name, _ in [*DECIDING, *OTHERS] if where == part}
        assert tried == set(type(getattr(settings, part)).model_fields)


@pytest.mark.parametrize(("part", "name", "value"), OTHERS)
def test_what_only_says_how_fast_or_where_is_not(part: str, name: str, value: Any) -> None:
    assert digest_with(part, name, value) == session().settings_digest()


# --- its outputs --------------------------------------------------------------------------------------------


class Subjects:
    """In place of a Schema Registry: it knows these subjects, and notes what it is asked."""

    def __init__(self, *known: str) -> None:
        self._known = known
        self.asked: list[str] = []

    def by_fingerprint(self, schema_fingerprint: bytes) -> Schema:
        raise AssertionError("nothing is read here")

    def by_id(self, schema_id: int) -> Schema:
        raise AssertionError("nothing is read here")

    def id_of(self, subject: str, record_type: type[object]) -> int:
        self.asked.append(subject)
        if subject not in self._known:
            raise ContractError(f"{subject} is not registered")
        return 7


def outputs_with(
    monkeypatch: pytest.MonkeyPatch, subjects: Subjects, request: Request = REQUEST
) -> Mapping[Any, Any]:
    """What encodes for a topic in Confluent's format, by kind of record."""
    monkeypatch.setattr("stream.replay.session.resolver_for", lambda _wire: subjects)
    one = session(request, lambda settings: setattr(settings.wire, "format", "confluent"))
    topic = one.outputs().topic
    return {} if topic is None else topic.encoders


def test_schemas_of_outputs_that_are_not_registered_show_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContractError, match=r"sway\.dead-letters-value is not registered"):
        outputs_with(monkeypatch, Subjects("sway.scores-value"))


def test_only_what_will_be_written_must_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = Subjects("sway.scores-value", "sway.dead-letters-value", "sway.examples-value")
    assert set(outputs_with(monkeypatch, subjects)) == {InfluenceScore, DeadLetter}
    assert subjects.asked == ["sway.scores-value", "sway.dead-letters-value"]
    labelled = replace(REQUEST, with_labels=True)
    assert set(outputs_with(monkeypatch, subjects, labelled)) == {InfluenceScore, DeadLetter, LabeledExample}
    nobody = Subjects()
    assert outputs_with(monkeypatch, nobody, replace(REQUEST, topic=None)) == {}
    assert nobody.asked == []


def test_the_files_of_a_finished_replay_are_checked_without_a_registry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("stream.replay.session.resolver_for", lambda _wire: Subjects())
    request = replace(REQUEST, parquet=tmp_path)
    one = session(request, lambda settings: setattr(settings.wire, "format", "confluent"))
    one.check_output(plan(), {})


# --- its place ----------------------------------------------------------------------------------------------


def test_a_replay_has_a_group_and_a_folder_of_its_own(tmp_path: Path) -> None:
    one = session(change=lambda settings: setattr(settings, "state_dir", tmp_path))
    assert one.group_id == "sway-replay-again"
    assert one.folder.path == tmp_path / "replay" / "again"
    assert (one.inputs.events, one.inputs.outcomes, one.inputs.old_scores) == (
        "sway.events",
        "sway.outcomes",
        "sway.scores",
    )
