"""The inputs are there and have one partition count, or the message says which is missing or differs."""

import pytest

from stream.exactly_once.errors import StartError
from stream.exactly_once.topics import check_inputs

INPUTS = ["s.events", "s.outcomes"]


def test_the_shared_count_is_returned() -> None:
    assert check_inputs({"s.events": 4, "s.outcomes": 4, "else": 1}, INPUTS) == 4


def test_missing_topics_are_all_named() -> None:
    with pytest.raises(StartError, match=r"do not exist: s\.events, s\.outcomes\. Create"):
        check_inputs({"else": 1}, INPUTS)
    with pytest.raises(StartError, match=r"do not exist: s\.outcomes\. Create"):
        check_inputs({"s.events": 1}, INPUTS)


def test_counts_that_differ_are_all_shown() -> None:
    with pytest.raises(StartError, match=r"s\.events has 4, s\.outcomes has 3"):
        check_inputs({"s.events": 4, "s.outcomes": 3}, INPUTS)
