"""Difficult inputs: undecodable bytes, wrong times, wrong order, and texts of a megabyte."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil

from schemas.records import BehaviorEvent, InfluenceScore, Outcome
from schemas.wire import Codec
from stream.worker.input_limits import AFTER_MAX_MS
from tests.faults.case import case
from tests.faults.load import Given, inputs
from tests.faults.stage import Stage
from tests.faults.transactions import alter
from tests.integration.conftest import wait_for

_TEN_YEARS_MS = 3652 * 86_400_000
_WRONG_USER = "user-3"
_MONTH_MS = 30 * 86_400_000
_MIB = 1024 * 1024
_MAX_RECORD_BYTES = 2048
_LARGE_TEXTS = 60
_LARGE_GROWTH_MB = 200.0
"""Two copies of the records that may be fetched or in flight at once, and the allocator's reserve."""

_event = Codec(BehaviorEvent)
_outcome = Codec(Outcome)
_HEADER = 10


def _wrong_first_length(value: bytes) -> bytes:
    return value[:_HEADER] + b"\x01" + value[_HEADER + 1 :]


def _wrong_utf8(value: bytes) -> bytes:
    return value[: _HEADER + 1] + b"\xff" + value[_HEADER + 2 :]


_SPOILED: dict[str, tuple[Callable[[bytes, int], bytes | None], str]] = {
    "null": (lambda _value, _number: None, "empty"),
    "no bytes": (lambda _value, _number: b"", "empty"),
    "garbage": (lambda _value, number: b"\x7b" + random.Random(number).randbytes(number % 400), "bad_magic"),  # noqa: S311
    "half a magic": (lambda value, _number: value[:1], "bad_magic"),
    "JSON": (lambda _value, _number: b'{"event_id": "e1", "user_id": "user-1"}', "bad_magic"),
    "a fingerprint of nobody": (
        lambda value, number: value[:2] + number.to_bytes(8, "big") + value[_HEADER:],
        "unknown_schema",
    ),
    "Confluent's magic without a registry": (
        lambda value, number: b"\0" + number.to_bytes(4, "big") + value[_HEADER:],
        "unknown_schema",
    ),
    "half a schema id": (lambda _value, number: b"\0" + bytes(number % 4), "truncated"),
    "half a fingerprint": (lambda value, number: value[: 2 + number % 8], "truncated"),
    "cut off": (
        lambda value, number: value[: _HEADER + number % (len(value) - _HEADER)],
        "truncated",
    ),
    "bytes behind the record": (lambda value, number: value + b"x" * (1 + number % 9), "trailing_bytes"),
    "a negative length": (lambda value, _number: _wrong_first_length(value), "undecodable"),
    "no UTF-8": (lambda value, _number: _wrong_utf8(value), "undecodable"),
    "an outcome": (lambda _value, _number: _outcome.encode(Outcome("e1", "user-1", 1.0, 0)), "wrong_record"),
    "too many bytes": (lambda value, _number: value + bytes(_MAX_RECORD_BYTES), "too_large"),
}
"""Changes to an encoded event, which may depend on its number, and the reason of its dead letter."""


@case("unknown schema id, garbage, truncated Avro, wrong magic: one record in three")
def unreadable(stage: Stage) -> None:
    stage.environment["SWAY_WIRE__MAX_RECORD_BYTES"] = str(_MAX_RECORD_BYTES)
    stage.create_topics().start("a", "b")
    stage.feed(source=_unreadable())
    stage.wait_for_more(1200)
    stage.notes["kinds of bad bytes"] = f"{len(_SPOILED)}"


def _unreadable() -> Iterator[Given]:
    good = (given for given in inputs(bad_every=0) if _is_short(given))
    spoil = list(_SPOILED.values())
    for number, given in enumerate(good):
        yield given
        if number % 2 == 0:
            bytes_of, reason = spoil[number // 2 % len(spoil)]
            one = BehaviorEvent(f"bad{number}", "user-1", "watch", 1, "i1", "Alien (1979) horror", 3.0)
            yield Given(bytes_of(_event.encode(one), number), reason)


def _is_short(given: Given) -> bool:
    return not isinstance(given.what, BehaviorEvent) or len(given.what.item_text) < 100


@case("duplicated, out-of-order and far-late events; clocks ten years off")
def wrong_times(stage: Stage) -> None:
    stage.create_topics()
    for short in ("events", "outcomes"):
        alter(stage, stage.topics.name(short), {AFTER_MAX_MS: str(2**63 - 1)})
    stage.start("a", "b")
    stage.feed(source=_wrong_times())
    stage.wait_for_more(1200)
    duplicates = sum(score.duplicate for score in stage.answers.scores)
    stage.notes["scored as duplicates"] = f"{duplicates} of {len(stage.answers.scores)}"
    assert duplicates > 100


def _wrong_times(seed: int = 11) -> Iterator[Given]:
    """Yield the load out of order, with one event in five repeated later, and events of wrong clocks.

    No label expires in this load, since the audit does not model expiry.
    """
    draw = random.Random(seed)  # noqa: S311
    waiting: list[Given] = []
    now_ms = int(time.time() * 1000)
    for number, given in enumerate(inputs(bad_every=0)):
        waiting.append(given)
        one = given.what
        if isinstance(one, BehaviorEvent):
            if draw.random() < 0.2:
                waiting.append(given)
            if number % 7 == 0:
                waiting.append(Given(replace(one, event_id=f"late{number}", occurred_at=now_ms - _MONTH_MS)))
            if number % 11 == 0:
                waiting.append(
                    Given(replace(one, event_id=f"slow{number}", occurred_at=now_ms - _TEN_YEARS_MS))
                )
            if number % 13 == 0:
                fast = replace(one, event_id=f"fast{number}", occurred_at=now_ms + _TEN_YEARS_MS)
                waiting.append(Given(fast, "time_in_future"))
            if number % 17 == 0:
                # On a topic without a limit for timestamps, a wrong clock sets Kafka's timestamp too.
                ahead_ms = now_ms + _TEN_YEARS_MS + number
                wrong = replace(one, event_id=f"wrong{number}", user_id=_WRONG_USER, occurred_at=ahead_ms)
                waiting.append(Given(wrong, at_ms=ahead_ms))
        if isinstance(one, Outcome) and number % 5 == 0:
            waiting.append(Given(replace(one, observed_at=now_ms + _TEN_YEARS_MS), "time_in_future"))
        while len(waiting) > 60:
            yield waiting.pop(draw.randrange(len(waiting)))


@case("1 MiB texts")
def large_texts(stage: Stage) -> None:
    stage.create_topics()
    alter(stage, stage.topics.name("events"), {"max.message.bytes": str(3 * _MIB)})
    (worker,) = stage.start("a")
    stage.feed(60)
    stage.wait_for_more(200)
    process = psutil.Process(worker.process.pid)
    memory_mb = [process.memory_info().rss / _MIB]
    for number in range(_LARGE_TEXTS):
        text = "endless " * (_MIB // 8)
        when_ms = int(time.time() * 1000) - 1000 * number
        stage.give_event(BehaviorEvent(f"large{number}", f"user-{number % 5}", "watch", when_ms, "", text))
    began = time.monotonic()
    stage.flush()

    def all_scored() -> bool:
        memory_mb.append(process.memory_info().rss / _MIB)
        stage.answers.read()
        return len(_large(stage)) == _LARGE_TEXTS

    wait_for(all_scored, "scores of the large texts", timeout_s=60)
    stage.wait_until_caught_up(began)
    stage.notes[f"memory before {_LARGE_TEXTS} texts of 1 MiB and at most"] = (
        f"{memory_mb[0]:.0f} and {max(memory_mb):.0f} MB"
    )
    assert max(memory_mb) - memory_mb[0] < _LARGE_GROWTH_MB
    assert all(score.truncated for score in _large(stage))


def _large(stage: Stage) -> list[InfluenceScore]:
    return [score for score in stage.answers.scores if score.event_id.startswith("large")]
