"""When examples are handed over, and what a request says."""

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
def test_enough_examples_or_enough_time_or_force_hand_over_and_never_nothing(
    examples: int, waited_s: float, forced: bool, reason: str | None
) -> None:
    assert RULE.reason(examples, waited_s, forced=forced) == reason


def test_a_request_leaves_out_partitions_without_news_and_its_id_follows_from_its_ranges() -> None:
    def made(end: int) -> tuple[str, list[tuple[int, int, int]]]:
        request = make_request(
            "t", {0: 5, 1: 7}, {0: 5, 1: end}, examples=2, created_at_ms=end, reason="labels"
        )
        return request.request_id, [(part.partition, part.start, part.end) for part in request.ranges]

    assert made(9) == made(9)
    assert made(9)[1] == [(1, 7, 9)]
    assert made(9)[0] != made(10)[0]


@pytest.mark.parametrize("end", [5, 4])
def test_no_news_and_an_end_before_its_start_make_no_request(end: int) -> None:
    with pytest.raises(ValueError, match="nothing to hand over"):
        make_request("t", {0: 5}, {0: end}, examples=1, created_at_ms=0, reason="forced")
