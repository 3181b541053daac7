"""A load in which every event gets a label: one in three by its outcome, the others a negative when they expire."""

import time
from collections import Counter
from collections.abc import Iterator

from schemas.records import BehaviorEvent, Outcome
from tests.faults.audit import Audit
from tests.faults.load import Given
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for

FIRST_RATE_PER_S = 400.0
_STEP_MS = 100  # event time between two events: at 150 events a second, 15 s pass in a second
_HORIZON_S = 100
# A minute of real time, in which an older version may run, and an outcome may be late.
_GRACE_S = 900
SETTINGS = {
    "SWAY_LABELS__NEGATIVE": "0",
    "SWAY_LABELS__HORIZON_S": str(_HORIZON_S),
    "SWAY_LABELS__GRACE_S": str(_GRACE_S),
}
UNTIL_THE_FIRST_FALL_DUE = (_HORIZON_S + _GRACE_S) * 1000 // _STEP_MS + 300
_USERS = 25
_CLOSERS = 2_000  # each settles sixteen events at most
_CLOSER = "closer-"


def load() -> Iterator[Given]:
    """Yield events in order without end, each directly followed by its outcome, if any."""
    start_ms = int(time.time() * 1000) - 86_400_000
    number = 0
    while True:
        number += 1
        at_ms = start_ms + number * _STEP_MS
        one = BehaviorEvent(
            f"e{number}", f"user-{number % _USERS}", "watch", at_ms, f"i{number % 50}", "Alien (1979)"
        )
        yield Given(one)
        if number % 3 == 0:
            yield Given(Outcome(one.event_id, one.user_id, float(number % 2), at_ms + 1000, 0.5))


def close(stage: Stage) -> None:
    """End the load, and expire all its open events with later ones (closers), which stay open themselves."""
    stage.stop_feeding()
    newest = max(what.occurred_at for what in _events(stage))
    for number in range(_CLOSERS):
        at_ms = newest + 2 * (_HORIZON_S + _GRACE_S) * 1000 + number * 10
        stage.give(Given(BehaviorEvent(f"{_CLOSER}{number}", f"user-{number % _USERS}", "watch", at_ms)))
    stage.flush()
    wait_for(lambda: stage.answers.read() >= stage.due(), "an answer to each event", timeout_s=90)


def audit(stage: Stage) -> Audit:
    """Audit scores and examples after all workers have ended; texts are not checked."""
    stage.answers.read_to_the_end()
    due = {where for where, what in stage.produced if isinstance(what, BehaviorEvent)}
    found = Audit(
        events=len(due),
        scores=len(stage.answers.scores),
        dead_letters=len(stage.answers.letters),
        lost=len(due - set(stage.answers.seen)),
        duplicates=sum(count - 1 for count in stage.answers.seen.values()),
    )
    found.problems += _check_examples(stage)
    for table in ("windows", "pending", "estimates", "items"):
        if stage.stores(table) != stage.changelog(table):
            found.problems.append(f"{table}: RocksDB differs from its changelog")
    return found


def _check_examples(stage: Stage) -> Iterator[str]:
    observed = {what.event_id: what.y for _where, what in stage.produced if isinstance(what, Outcome)}
    due = Counter(
        (one.event_id, observed.get(one.event_id, 0.0))
        for one in _events(stage)
        if not one.event_id.startswith(_CLOSER)
    )
    examples = stage.examples()
    found = Counter((one.event_id, one.y) for one in examples)
    stage.notes["examples"] = f"{found.total():,}"
    if found != due:
        missing, unexpected = due - found, found - due
        yield (
            f"examples: {missing.total()} of {due.total()} are missing, such as {sorted(missing)[:3]}; "
            f"{unexpected.total()} are not due, such as {sorted(unexpected)[:3]}"
        )
    published = {score.event_id: (score.y_hat, score.z_hat) for score in stage.answers.scores}
    if any(published.get(one.event_id) != (one.y_hat, one.z_hat) for one in examples):
        yield "an example does not have the published estimates"


def _events(stage: Stage) -> Iterator[BehaviorEvent]:
    return (what for _where, what in stage.produced if isinstance(what, BehaviorEvent))
