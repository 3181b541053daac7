"""A seeded, steady load of inputs: events and outcomes, with repeated, late and invalid ones."""

import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from schemas.records import BehaviorEvent, Outcome

YEAR_9999_MS = 253_402_300_799_000
FILMS = ["Alien (1979) horror", "Brazil (1985) dystopia", "Casablanca (1942)", "Amélie 🎬 <b>2001</b>", ""]
_TWO_HOURS_MS = 7_200_000
_EVENT_MS = 20  # event time between two events: events of about 25 minutes of load are in the past

Input = BehaviorEvent | Outcome | bytes | None


@dataclass(frozen=True, slots=True)
class Given:
    """One input.

    reason: the expected reason of its dead letter; None if it is valid. encoded: the value, if encoded by another
    writer. at_ms: Kafka's timestamp; 0 means now.
    """

    what: Input
    reason: str | None = None
    encoded: bytes | None = None
    at_ms: int = 0


_BAD: dict[str, Callable[[BehaviorEvent], Input]] = {
    "bad_magic": lambda _one: b"\xff{not Avro}",
    "unknown_schema": lambda _one: b"\xc3\x01" + b"\x01" * 8 + b"?",
    "empty": lambda _one: None,
    "missing_user_id": lambda one: BehaviorEvent(one.event_id, "", "watch", one.occurred_at),
    "missing_event_id": lambda one: BehaviorEvent("", one.user_id, "watch", one.occurred_at),
    "not_finite": lambda one: BehaviorEvent(
        one.event_id, one.user_id, "watch", one.occurred_at, value=math.nan
    ),
    "time_in_future": lambda one: BehaviorEvent(one.event_id, one.user_id, "watch", YEAR_9999_MS),
    "time_before_1970": lambda one: BehaviorEvent(one.event_id, one.user_id, "watch", -1),
}


def inputs(seed: int = 7, *, users: int = 25, outcomes: bool = True, bad_every: int = 50) -> Iterator[Given]:
    """Yield inputs without end: one event in 40 is repeated, one in three has an outcome.

    bad_every: one event in this many is invalid; 0 for none.
    """
    draw = random.Random(seed)  # noqa: S311
    scored: deque[BehaviorEvent] = deque(maxlen=60)
    spoil = list(_BAD.items())
    now_ms = int(time.time() * 1000)
    start_ms = now_ms - _TWO_HOURS_MS
    number = 0
    while True:
        number += 1
        late_ms = draw.choice([0, 0, 0, 60_000, 3_600_000])
        one = BehaviorEvent(
            f"e{number}",
            f"user-{draw.randrange(users)}",
            draw.choice(["watch", "rate", "purchase"]),
            start_ms + _EVENT_MS * number - late_ms,
            f"i{number % 50}",
            draw.choice(FILMS) if number % 97 else "endless " * 500,
            draw.choice([None, 3.0, 20.0, 4000.0]),
        )
        if bad_every and number % bad_every == bad_every // 2:
            reason, spoiled = spoil[number // bad_every % len(spoil)]
            yield Given(spoiled(one), reason)
            continue
        if scored and number % 40 == 3:
            one = draw.choice(list(scored)[-20:])  # a repeated event
        yield Given(one)
        scored.append(one)
        if outcomes and number % 3 == 0:
            known = draw.choice(list(scored))
            yield Given(
                Outcome(known.event_id, known.user_id, float(draw.random() < 0.6), now_ms, draw.random())
            )
        if outcomes and number % 200 == 100:
            yield Given(Outcome("never-seen", one.user_id, 1.0, now_ms))
            if bad_every:
                yield Given(Outcome(one.event_id, one.user_id, 7.0, now_ms), "out_of_range")
