"""What a worker reads of one partition live, the topics that this leaves, and plans to replay it."""

from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from model.tokens import BehaviourTokenizer
from schemas.records import InfluenceScore
from schemas.wire import Codec
from stream.replay.plan import PartitionPlan, ReplayPlan, Span
from stream.replay.streams import Record
from stream.scoring.behaviours import BehaviourLimits
from stream.scoring.labels.rules import JoinSettings, Rule
from stream.scoring.windows import WindowLimits
from tests.support.processing import NOW_MS, TOPICS, Processing, Published
from tests.support.replayed_partition import Core

MINUTE = 60_000
CODEC = Codec(InfluenceScore)


def core_of(tokenizer: BehaviourTokenizer) -> Core:
    """Small windows, and labels of all three kinds that fall due within minutes."""
    return Core(
        tokenizer,
        WindowLimits(4, 900),
        BehaviourLimits(60),
        JoinSettings((Rule("watch", "purchase", 5 * MINUTE),), {"purchase": 0.5}, 0.0, 5 * MINUTE, MINUTE),
    )


@dataclass
class Story:
    """What a worker read live, what it published, and the topics as they are then."""

    live: Published
    topics: dict[str, list[Record]] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)


def read_live(core: Core, inputs: list[tuple[Any, int, int]]) -> Story:
    """Have a worker read these in their order, each run of one topic as a batch of its own."""
    processing = Processing(core.tokenizer, windows=core.windows, behaviours=core.behaviours, join=core.join)
    topics: dict[str, list[Record]] = {TOPICS.events: [], TOPICS.outcomes: [], TOPICS.scores: []}
    ends = dict.fromkeys(topics, 0)
    order = []
    for what, hole, later_ms in inputs:
        record = processing.record(what, timestamp=NOW_MS + later_ms)
        record = replace(record, offset=ends[record.topic] + hole)
        ends[record.topic] = record.offset + 1
        topics[record.topic].append(record)
        order.append(record)
    for _topic, run in groupby(order, lambda record: record.topic):
        processing.deliver(*run)
    live = processing.published
    for number, score in enumerate(live.scores):
        topics[TOPICS.scores].append(Record(TOPICS.scores, 0, 2 * number, 0, None, CODEC.encode(score)))
    ends[TOPICS.scores] = 2 * len(live.scores)
    return Story(live, topics, {topic: end + 1 for topic, end in ends.items()})


def planned(story: Story, sizes: tuple[int, ...], *, with_labels: bool, scores_from: int = 0) -> ReplayPlan:
    """A plan over the events. sizes: of what is not read, read before the range, scored, read after it."""
    end = story.ends[TOPICS.events]
    begin, start, stop, read_to = (min(sum(sizes[: count + 1]), end) for count in range(4))
    part = PartitionPlan(
        Span(begin, start),
        Span(start, stop),
        Span(stop, read_to if with_labels else stop),
        Span(0, story.ends[TOPICS.outcomes]),
        Span(min(scores_from, story.ends[TOPICS.scores]), story.ends[TOPICS.scores]),
    )
    return ReplayPlan("again", "v1", with_labels, "topic again and parquet", "digest", 77, {}, {0: part})
