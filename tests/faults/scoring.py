"""A model that fails on some texts, and a device that runs out of memory for a whole batch."""

import time
from collections.abc import Iterator

from schemas.records import BehaviorEvent
from tests.faults.case import case
from tests.faults.inside import Inside
from tests.faults.load import Given, inputs
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for

_POISON = "arsenic"
_AGAIN = "sway_forward_again_total"
_FAILED = 'sway_dead_letters_total{reason="scoring_failed"}'
_RATE_PER_S = 80.0  # each failing text takes a dozen passes
_ROOM_ROWS = 6  # the largest batch of the warm-up


@case("a poison text that makes scoring fail: found by halving, the others scored", quick=True)
def poison_text(stage: Stage) -> None:
    worker = stage.create_topics().worker("a", Inside(poison_word=_POISON))
    stage.feed(_RATE_PER_S, _with_poison(every=30))
    _wait_for_backlog(stage)
    began = time.monotonic()
    worker.start().wait_until_ready()
    stage.wait_until_caught_up(began)
    stage.wait_for_more(100)
    failed, again = worker.metric(_FAILED), worker.metric(_AGAIN)
    stage.notes["texts that failed, passes for that"] = f"{failed:g}, {again:g}"
    assert failed >= 8
    assert again >= failed, "no batch was halved"


@case("out of memory on the device: batches are halved, nothing is lost")
def out_of_memory(stage: Stage) -> None:
    worker = stage.create_topics().worker("a", Inside(memory_rows=_ROOM_ROWS))
    stage.feed(_RATE_PER_S)
    _wait_for_backlog(stage)
    began = time.monotonic()
    worker.start().wait_until_ready()
    stage.wait_until_caught_up(began)
    stage.wait_for_more(100)
    again = worker.metric(_AGAIN)
    stage.notes[f"passes again, with room for {_ROOM_ROWS} rows"] = f"{again:g}"
    assert again > 50
    assert worker.metric(_FAILED) == 0


def _wait_for_backlog(stage: Stage) -> None:
    """Wait for a backlog, so that the worker's first batches are full."""
    wait_for(lambda: len(stage.produced) >= 240, "a backlog")


def _with_poison(every: int) -> Iterator[Given]:
    """Yield the load with a poison text after every `every` inputs, each of a different user."""
    for number, given in enumerate(inputs(), 1):
        yield given
        if number % every == 0:
            when_ms = int(time.time() * 1000)
            poison = BehaviorEvent(
                f"p{number}", f"poisoned-{number}", "watch", when_ms, "", f"{_POISON} and old lace"
            )
            yield Given(poison, "scoring_failed")
