"""When examples are handed over, and the contents of a request."""

import pytest

from stream.handover.rule import HandoverRule, make_request

RULE = HandoverRule(min_examples=10, max_interval_s=60)


@pytest.mark.parametrize(
    ("examples", "waited_s", "forced", "reason"),
    [
        (10, 0, False, "labels"),
        (9, 59, False, None),
        (9, 60, False, "time"),
        (1, 0, True, "forced"),
        (0, 1000, True, None),
    ],
)
def test_examples_time_or_force_trigger_a_handover(
    examples: int, waited_s: float, forced: bool, reason: str | None
) -> None:
    assert RULE.reason(examples, waited_s, forced=forced) == reason


def test_requests_skip_idle_partitions_and_ranges_determine_the_id() -> None:
    def id_and_ranges(end: int) -> tuple[str, list[tuple[int, int, int]]]:
        request = make_request(
            "t", starts={0: 5, 1: 7}, ends={0: 5, 1: end}, examples=2, created_at_ms=end, reason="labels"
        )
        return request.request_id, [(part.partition, part.start, part.end) for part in request.ranges]

    assert id_and_ranges(9) == id_and_ranges(9)
    assert id_and_ranges(9)[1] == [(1, 7, 9)]
    assert id_and_ranges(9)[0] != id_and_ranges(10)[0]


@pytest.mark.parametrize("end", [5, 4])
def test_an_empty_or_reversed_range_makes_no_request(end: int) -> None:
    with pytest.raises(ValueError, match="nothing to hand over"):
        make_request("t", starts={0: 5}, ends={0: end}, examples=1, created_at_ms=0, reason="forced")
