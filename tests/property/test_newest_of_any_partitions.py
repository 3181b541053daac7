"""The newest examples of any partitions, with gaps and equal times, are found by reading each offset at most once."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.records import OffsetRange
from trainer.dataset import Example
from trainer.newest import Found, NewestFirst

PARTITION = st.lists(st.none() | st.integers(0, 200), max_size=80)
"""By offset: None for a gap, else the label's time; the test sorts the times."""


@given(
    contents=st.lists(PARTITION, min_size=1, max_size=5),
    starts=st.lists(st.integers(0, 50), min_size=5, max_size=5),
    wanted=st.integers(1, 60),
)
def test_the_newest_are_found_and_nothing_is_read_twice(
    contents: list[list[int | None]], starts: list[int], wanted: int
) -> None:
    partitions: list[list[int | None]] = []
    for content in contents:
        times = iter(sorted(at for at in content if at is not None))
        partitions.append([None if at is None else next(times) for at in content])
    spans = [
        OffsetRange("t", partition=number, start=start, end=start + len(content))
        for number, (start, content) in enumerate(zip(starts, partitions, strict=False))
    ]
    search = NewestFirst(spans, wanted)
    read = set()
    while ranges := search.next_ranges():
        for part in ranges:
            for offset in range(part.start, part.end):
                assert (part.partition, offset) not in read
                read.add((part.partition, offset))
                at = partitions[part.partition][offset - starts[part.partition]]
                if at is not None:
                    search.add(
                        Found(
                            "t",
                            part.partition,
                            offset,
                            at,
                            Example(history="", target="", y=0.0, z=None, occurred_at=at),
                        )
                    )
    everything = sorted(at for content in partitions for at in content if at is not None)
    assert sorted(one.occurred_at for one in search.examples()) == everything[-wanted:]
