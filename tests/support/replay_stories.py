"""A live run of one partition, the topics afterwards, and plans to replay it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby
from typing import Any, NamedTuple

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
    """Return small windows, and a join with outcomes, a rule and negatives that fall due within minutes."""
    return Core(
        tokenizer,
        WindowLimits(max_behaviours=4, max_bytes=900),
        BehaviourLimits(max_item_text_chars=60),
        JoinSettings(
            rules=(Rule("watch", by="purchase", within_ms=5 * MINUTE),),
            weights={"purchase": 0.5},
            negative=0.0,
            horizon_ms=5 * MINUTE,
            grace_ms=MINUTE,
        ),
    )


class Input(NamedTuple):
    """One record that a worker reads.

    gap: missing offsets before it. timestamp_delay_ms: Kafka's timestamp after NOW_MS.
    """

    what: Any
    gap: int = 0
    timestamp_delay_ms: int = 0


@dataclass
class Story:
    """A live run: what it published, and the records and end offsets of its topics afterwards."""

    live: Published
    topics: dict[str, list[Record]] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)


def read_live(core: Core, inputs: Sequence[Input]) -> Story:
    """Process inputs in their order; consecutive records of one topic form a batch."""
    processing = Processing(core.tokenizer, windows=core.windows, behaviours=core.behaviours, join=core.join)
    topics: dict[str, list[Record]] = {TOPICS.events: [], TOPICS.outcomes: [], TOPICS.scores: []}
    ends = dict.fromkeys(topics, 0)
    order = []
    for what, gap, timestamp_delay_ms in inputs:
        record = processing.record(what, timestamp=NOW_MS + timestamp_delay_ms)
        record = replace(record, offset=ends[record.topic] + gap)
        ends[record.topic] = record.offset + 1
        topics[record.topic].append(record)
        order.append(record)
    for _topic, run in groupby(order, lambda record: record.topic):
        processing.deliver(*run)
    live = processing.published
    for number, score in enumerate(live.scores):
        topics[TOPICS.scores].append(
            Record(TOPICS.scores, 0, offset=2 * number, timestamp=0, key=None, value=CODEC.encode(score))
        )
    ends[TOPICS.scores] = 2 * len(live.scores)
    return Story(live, topics, {topic: end + 1 for topic, end in ends.items()})


def planned(
    story: Story,
    *,
    skipped: int = 0,
    warm_up: int = 0,
    scored: int,
    run_out: int = 0,
    with_labels: bool,
    scores_from: int = 0,
) -> ReplayPlan:
    """Return a plan over the events.

    skipped, warm_up, scored, run_out: the lengths of consecutive ranges of event offsets, cut at the topic's end.
    scores_from: the first offset of the old scores.
    """
    end = story.ends[TOPICS.events]
    begin, start, stop, read_to = (
        min(offset, end) for offset in accumulate((skipped, warm_up, scored, run_out))
    )
    part = PartitionPlan(
        warm_up=Span(begin, start),
        scored=Span(start, stop),
        run_out=Span(stop, read_to if with_labels else stop),
        outcomes=Span(0, story.ends[TOPICS.outcomes]),
        old_scores=Span(min(scores_from, story.ends[TOPICS.scores]), story.ends[TOPICS.scores]),
    )
    return ReplayPlan(
        replay_id="again",
        model_version="v1",
        with_labels=with_labels,
        outputs="topic again and parquet",
        settings="digest",
        created_at_ms=77,
        topic_ids={},
        partitions={0: part},
    )
