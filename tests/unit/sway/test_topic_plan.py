"""The planned topics, and existing topics that differ from the plan."""

from stream.settings import TopicSettings
from stream.worker.input_limits import AFTER_MAX_MS
from sway.topic_plan import UNLIMITED_RETENTION, find_problems, missing, plan_topics

TOPICS = TopicSettings()


def test_every_topic_of_the_settings_is_planned() -> None:
    planned = plan_topics(TopicSettings(prefix="shop", scores="scored"), 6, history=False)
    assert [plan.name for plan in planned] == [
        "shop.events",
        "shop.outcomes",
        "scored",
        "shop.scores.shadow",
        "shop.examples",
        "shop.training",
        "shop.models",
        "shop.dead-letters",
        "shop.recommendation-requests",
        "shop.recommendations",
    ]


def test_topics_without_a_user_key_have_one_partition() -> None:
    counts = {plan.name: plan.partitions for plan in plan_topics(TOPICS, 6, history=False)}
    assert {name for name, count in counts.items() if count == 1} == {"sway.training", "sway.models"}
    assert set(counts.values()) == {1, 6}


def test_history_decides_which_topics_have_unlimited_retention() -> None:
    assert all(plan.has_unlimited_retention for plan in plan_topics(TOPICS, 6, history=True))
    kept = [plan.name for plan in plan_topics(TOPICS, 6, history=False) if plan.has_unlimited_retention]
    assert kept == ["sway.training", "sway.models"]


def test_the_broker_refuses_events_and_outcomes_from_the_future() -> None:
    planned = plan_topics(TopicSettings(max_ahead_s=60), 6, history=True)
    limits = {plan.name: plan.config.get(AFTER_MAX_MS) for plan in planned}
    assert {name for name, limit in limits.items() if limit == "60000"} == {"sway.events", "sway.outcomes"}
    assert set(limits.values()) == {"60000", None}
    assert all(plan.without(AFTER_MAX_MS).config == UNLIMITED_RETENTION for plan in planned)


def test_a_wrong_partition_count_is_a_problem() -> None:
    planned = plan_topics(TOPICS, 6, history=False)
    existing = {"sway.events": 3, "sway.outcomes": 6, "other": 1}
    assert find_problems(planned, existing) == ["sway.events has 3 partitions instead of 6"]
    assert "sway.outcomes" not in {plan.name for plan in missing(planned, existing)}
    assert len(missing(planned, existing)) == len(planned) - 2
