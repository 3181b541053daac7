"""Checks of input topics, creation of changelogs, and lookups of topic ids."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream.exactly_once.kafka import topics
from stream.exactly_once.kafka.topics import TopicIds, check_inputs, ensure_changelogs
from stream.exactly_once.units.errors import StartError, TopicGoneError

INPUTS = ["s.events", "s.outcomes"]


def test_the_common_partition_count_is_returned() -> None:
    assert check_inputs({"s.events": 4, "s.outcomes": 4, "else": 1}, INPUTS) == 4


def test_all_missing_topics_are_named() -> None:
    with pytest.raises(StartError, match=r"do not exist: s\.events, s\.outcomes\. Create"):
        check_inputs({"else": 1}, INPUTS)
    with pytest.raises(StartError, match=r"do not exist: s\.outcomes\. Create"):
        check_inputs({"s.events": 1}, INPUTS)


def test_all_differing_counts_are_shown() -> None:
    with pytest.raises(StartError, match=r"s\.events has 4, s\.outcomes has 3"):
        check_inputs({"s.events": 4, "s.outcomes": 3}, INPUTS)


@pytest.mark.parametrize("call", ["create_topics", "describe_topics"])
def test_a_start_without_a_controller_fails_with_a_clear_error(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        """An admin client whose futures for one call never complete."""

        def __init__(self, _config: Any) -> None: ...

        def create_topics(self, new: list[Any], **_: Any) -> dict[str, "Future[Any]"]:
            return {topic.topic: self._answer("create_topics", None) for topic in new}

        def describe_topics(self, _topics: Any, **_: Any) -> dict[str, "Future[Any]"]:
            return {"s-users-changelog": self._answer("describe_topics", SimpleNamespace(topic_id="id"))}

        def describe_configs(self, resources: list[Any], **_: Any) -> dict[Any, "Future[Any]"]:
            return {resource: self._answer("describe_configs", {}) for resource in resources}

        def _answer(self, name: str, value: Any) -> "Future[Any]":
            answer: Future[Any] = Future()
            if name != call:
                answer.set_result(value)
            return answer

    monkeypatch.setattr(topics, "AdminClient", Silent)
    monkeypatch.setattr(topics, "partition_counts", lambda *_: {"s.events": 4})
    with pytest.raises(StartError, match=r"changelog topic.* within 0\.01 s"):
        ensure_changelogs({}, ["s.events"], {"users": "s-users-changelog"}, replication=1, timeout_s=0.01)


@pytest.mark.parametrize(
    ("brokers", "wanted", "replicas", "min_isr"),
    [
        (1, None, 1, None),
        (2, None, 2, None),
        (3, None, 3, "2"),
        (9, None, 3, "2"),
        (9, 5, 5, "2"),
        (3, 1, 1, None),
    ],
)
def test_changelog_replication_follows_the_brokers_or_the_setting(
    brokers: int, wanted: int | None, replicas: int, min_isr: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Admin:
        """An admin client that records the topics that it creates."""

        def __init__(self, _config: Any) -> None: ...

        def list_topics(self, **_: Any) -> Any:
            return SimpleNamespace(brokers=dict.fromkeys(range(brokers)))

        def create_topics(self, new: list[Any], **_: Any) -> dict[str, "Future[Any]"]:
            made.extend(new)
            return {}

    monkeypatch.setattr(topics, "AdminClient", Admin)
    monkeypatch.setattr(topics, "partition_counts", lambda *_: {"s.events": 4})
    monkeypatch.setattr(topics, "_describe", lambda *_: [])
    ensure_changelogs({}, ["s.events"], {"users": "s-users-changelog"}, replication=wanted, timeout_s=1)
    (topic,) = made
    assert (topic.replication_factor, topic.config.get("min.insync.replicas")) == (replicas, min_isr)
    assert topic.config["cleanup.policy"] == "compact"


def test_a_client_without_answers_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Client:
        """A client bound to one controller: the first client's is gone, the second's leaves after two answers."""

        def __init__(self, _config: Any) -> None:
            made.append(self)
            self.answers = [0, 2, 1][len(made) - 1]

        def describe_topics(self, _topics: Any, **_: Any) -> dict[str, "Future[Any]"]:
            answer: Future[Any] = Future()
            if self.answers:
                answer.set_result(SimpleNamespace(topic_id="id"))
            else:
                answer.set_exception(
                    KafkaException(KafkaError(KafkaError._TIMED_OUT, "waiting for controller"))
                )
            self.answers -= 1
            return {"s.events": answer}

    monkeypatch.setattr(topics, "AdminClient", Client)
    monkeypatch.setattr(topics, "_RETRY_PAUSE_S", 0.0)
    ids = TopicIds({}, ["s.events"])
    for _ in range(3):
        assert ids.wait(lambda: False) == {"s.events": "id"}
    assert len(made) == 3


def test_a_topic_is_gone_only_if_it_stays_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful:
        """Does not know the topic, like a broker that has just restarted."""

        def __init__(self, _config: Any) -> None: ...

        def describe_topics(self, _topics: Any, **_: Any) -> dict[str, "Future[Any]"]:
            answer: Future[Any] = Future()
            answer.set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
            return {"s.events": answer}

    monkeypatch.setattr(topics, "AdminClient", Forgetful)
    monkeypatch.setattr(topics, "_RETRY_PAUSE_S", 0.0)
    monkeypatch.setattr(topics, "_GONE_AFTER_S", 0.05)
    ids = TopicIds({}, ["s.events"])
    with pytest.raises(KafkaException):
        ids.fetch()
    with pytest.raises(TopicGoneError, match=r"s\.events"):
        ids.wait(lambda: False)
