"""Offset metadata of any plan fits the broker's limit and decodes to the same plan."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.replay.notes import decode_progress, encode_progress
from stream.replay.parquet import FileName
from stream.replay.plan import COUNTS, PartitionPlan, Progress, ReplayPlan, Span

OFFSET_METADATA_MAX_BYTES = 4096  # the default of the broker's offset.metadata.max.bytes
MAX_OFFSET = 2**63 - 1

OFFSETS = st.integers(0, MAX_OFFSET) | st.just(MAX_OFFSET)
SPANS = st.builds(Span, OFFSETS, OFFSETS)
NAMES = st.text("abc._-XYZ019", min_size=1, max_size=249)  # valid names of Kafka topics
TOPICS = NAMES | st.just("t" * 249)
PARTS = st.builds(PartitionPlan, SPANS, SPANS, SPANS, SPANS, SPANS, SPANS)
PLANS = st.builds(
    ReplayPlan,
    st.just("again"),
    st.text(max_size=100) | st.just("v" * 255),
    st.booleans(),
    TOPICS.map("topic {} and parquet".format),
    st.text("0123456789abcdef", min_size=12, max_size=12),
    OFFSETS,
    st.dictionaries(TOPICS, st.text("abcABC_-", min_size=22, max_size=22), min_size=2, max_size=2),
    st.fixed_dictionaries({2**31 - 1: PARTS}),
)
PROGRESS = st.builds(
    Progress,
    OFFSETS,
    OFFSETS,
    st.fixed_dictionaries(dict.fromkeys(COUNTS, OFFSETS)),
    st.just("")
    | st.builds(FileName, st.just(2**31 - 1), SPANS, SPANS, st.just("9f3c2a1b")).map(
        lambda name: name.pending
    ),
    st.booleans(),
)


@settings(deadline=None, max_examples=100)
@given(plan=PLANS, progress=PROGRESS)
def test_any_plan_and_progress_fit_into_offset_metadata(plan: ReplayPlan, progress: Progress) -> None:
    (partition,) = plan.partitions
    note = encode_progress(plan, partition, progress)
    assert len(note.encode()) < OFFSET_METADATA_MAX_BYTES
    assert decode_progress("again", {partition: (progress.events_next, note)}) == (
        plan,
        {partition: progress},
    )
