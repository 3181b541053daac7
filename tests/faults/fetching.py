"""A consumer that gets no more records, although the brokers have some."""

import re
import time

from tests.faults.case import case
from tests.faults.inside import Inside
from tests.faults.stage import Stage

_STUCK_AFTER_S = 4.0
_ENDS_WITHIN_S = 30.0  # after _STUCK_AFTER_S; seconds on an idle machine


@case("a consumer whose fetcher stops")
def fetcher_stops(stage: Stage) -> None:
    stops = stage.folder / "fetcher-stops"
    worker = stage.create_topics().worker(
        "a", Inside(fetcher_stops=stops), SWAY_TIME__STUCK_AFTER_S=_STUCK_AFTER_S
    )
    worker.start().wait_until_ready()
    stage.feed()
    stage.wait_for_more(300)
    began = time.monotonic()
    stops.touch()
    assert worker.wait(_STUCK_AFTER_S + _ENDS_WITHIN_S) == 1
    stage.notes["ended after"] = f"{time.monotonic() - began:.1f} s"
    assert re.search(r"No progress for \d+ s .*the consumer's fetcher has stopped\.", worker.log_text())
    worker.inside = Inside()
    worker.start()
    stage.wait_until_caught_up(began)
    stage.check_offsets()
