"""The short cases of `make faults`, as part of `make test`."""

from pathlib import Path

import pytest

from sway.embedded import EmbeddedKafka
from tests.faults.case import Case
from tests.faults.catalogue import CASES
from tests.faults.playing import play

QUICK = [case for case in CASES if case.quick]


@pytest.mark.integration
@pytest.mark.faults
@pytest.mark.parametrize("case", QUICK, ids=[case.name.replace(" ", "-") for case in QUICK])
def test_no_event_is_lost_or_duplicated(case: Case, kafka: EmbeddedKafka, registry: Path) -> None:
    row = play(case, kafka, registry, print)
    assert row.events > 0
    assert (row.lost, row.duplicates, row.problems) == (0, 0, [])
