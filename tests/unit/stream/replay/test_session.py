"""The check of the command that resumes a replay, the settings in its digest, and its outputs."""

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


class FakePlanner:
    """Planner whose topics have the given ids."""

    ids: Mapping[str, str] = IDS

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> "FakePlanner":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def topic_ids(self, topics: list[str]) -> Mapping[str, str]:
        return {topic: self.ids[topic] for topic in topics}


@pytest.fixture(autouse=True)
def fake_planner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the planner, so that no cluster is needed."""
    monkeypatch.setattr("stream.replay.session.Planner", FakePlanner)


def session(
    request: Request = REQUEST, change: Callable[[Settings], object] = lambda _: None
) -> ReplaySession:
    """Return a session with the default settings and one change."""
    settings = Settings()
    change(settings)
    return ReplaySession(settings, request)


def plan(**changes: Any) -> ReplayPlan:
    """Return the plan that REQUEST was started with, with changes."""
    digest = session().settings_digest()
    started = ReplayPlan(
        replay_id="again",
        model_version="v7",
        with_labels=False,
        outputs="topic s.again and parquet",
        settings=digest,
        created_at_ms=77,
        topic_ids=IDS,
        partitions={},
    )
    return replace(started, **changes)


# --- resuming -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        # The version of the plan is used.
        replace(REQUEST, model_version=None),
        # The range of the plan is used.
        replace(REQUEST, start=Newest(), end=Oldest(), warm_up_ms=5),
        # Machines may have different paths to the folder.
        replace(REQUEST, parquet=Path("elsewhere")),
    ],
)
def test_the_same_command_resumes(request_: Request) -> None:
    session(request_).check(plan())


@pytest.mark.parametrize(
    ("change", "message"),
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
def test_a_different_command_under_the_same_id_is_refused(change: dict[str, Any], message: str) -> None:
    advice = "Continue with the original values, or give this replay another id"
    expected = f"Replay 'again' was started with {message} {advice}"
    with pytest.raises(PlanError, match=re.escape(expected)):
        session(replace(REQUEST, **change)).check(plan())


def test_changed_text_settings_are_refused() -> None:
    with pytest.raises(PlanError, match=r"another settings that affect texts, or dtype \([0-9a-f]{12}, now "):
        session(change=lambda settings: setattr(settings.window, "max_behaviours", 7)).check(plan())


def test_a_recreated_topic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakePlanner, "ids", IDS | {"sway.outcomes": "O2"})
    with pytest.raises(
        PlanError, match=r"Recreated since replay 'again' was started: sway\.outcomes\. Its offsets"
    ):
        session().check(plan())
    # A plan that reads no outcomes does not depend on their topic.
    session().check(plan(topic_ids={"sway.events": "E1"}))


# --- settings -----------------------------------------------------------------------------------------------

RULE = AttributionRule(action="view", by="purchase")

IN_DIGEST: list[tuple[str, str, Any]] = [
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
NOT_IN_DIGEST: list[tuple[str, str, Any]] = [
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
    """Return the digest after changing one setting."""
    return session(change=lambda settings: setattr(getattr(settings, part), name, value)).settings_digest()


@pytest.mark.parametrize(("part", "name", "value"), IN_DIGEST)
def test_settings_that_affect_the_output_are_in_the_digest(part: str, name: str, value: Any) -> None:
    assert digest_with(part, name, value) != session().settings_digest()


def test_every_window_and_label_setting_is_covered() -> None:
    settings = Settings()
    for part in ("window", "labels"):
        covered = {name for where, name, _ in [*IN_DIGEST, *NOT_IN_DIGEST] if where == part}
        assert covered == set(type(getattr(settings, part)).model_fields)


@pytest.mark.parametrize(("part", "name", "value"), NOT_IN_DIGEST)
def test_other_settings_are_not_in_the_digest(part: str, name: str, value: Any) -> None:
    assert digest_with(part, name, value) == session().settings_digest()


# --- outputs ------------------------------------------------------------------------------------------------


class FakeRegistry:
    """Schema Registry that knows these subjects and records the lookups."""

    def __init__(self, *known: str) -> None:
        self._known = known
        self.lookups: list[str] = []

    def by_fingerprint(self, schema_fingerprint: bytes) -> Schema:
        raise AssertionError("nothing is read here")

    def by_id(self, schema_id: int) -> Schema:
        raise AssertionError("nothing is read here")

    def id_of(self, subject: str, record_type: type[object]) -> int:
        self.lookups.append(subject)
        if subject not in self._known:
            raise ContractError(f"{subject} is not registered")
        return 7


def outputs_with(
    monkeypatch: pytest.MonkeyPatch, subjects: FakeRegistry, request: Request = REQUEST
) -> Mapping[Any, Any]:
    """Return the encoders of the output topic in Confluent's format, by record type."""
    monkeypatch.setattr("stream.replay.session.resolver_for", lambda _wire: subjects)
    one = session(request, lambda settings: setattr(settings.wire, "format", "confluent"))
    topic = one.outputs().topic
    return {} if topic is None else topic.encoders


def test_unregistered_output_schemas_fail_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContractError, match=r"sway\.dead-letters-value is not registered"):
        outputs_with(monkeypatch, FakeRegistry("sway.scores-value"))


def test_only_written_record_types_must_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = FakeRegistry("sway.scores-value", "sway.dead-letters-value", "sway.examples-value")
    assert set(outputs_with(monkeypatch, subjects)) == {InfluenceScore, DeadLetter}
    assert subjects.lookups == ["sway.scores-value", "sway.dead-letters-value"]
    labelled = replace(REQUEST, with_labels=True)
    assert set(outputs_with(monkeypatch, subjects, labelled)) == {InfluenceScore, DeadLetter, LabeledExample}
    unused = FakeRegistry()
    assert outputs_with(monkeypatch, unused, replace(REQUEST, topic=None)) == {}
    assert unused.lookups == []


def test_files_of_a_finished_replay_are_checked_without_a_registry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("stream.replay.session.resolver_for", lambda _wire: FakeRegistry())
    request = replace(REQUEST, parquet=tmp_path)
    one = session(request, lambda settings: setattr(settings.wire, "format", "confluent"))
    one.check_output(plan(), {})


# --- group and folder ---------------------------------------------------------------------------------------


def test_a_replay_has_its_own_group_and_folder(tmp_path: Path) -> None:
    one = session(change=lambda settings: setattr(settings, "state_dir", tmp_path))
    assert one.group_id == "sway-replay-again"
    assert one.folder.path == tmp_path / "replay" / "again"
    assert (one.inputs.events, one.inputs.outcomes, one.inputs.old_scores) == (
        "sway.events",
        "sway.outcomes",
        "sway.scores",
    )
