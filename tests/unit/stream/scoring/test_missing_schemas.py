"""Records whose schema is not known yet: the Schema Registry is unavailable, or the producer is newer."""

import asyncio

import pytest

from model.tokens import BehaviourTokenizer
from schemas.contracts import Schema, current, fingerprint
from schemas.errors import RegistryUnavailable, UnknownSchemaError
from schemas.records import BehaviorEvent
from schemas.resolvers import LocalResolver
from schemas.wire import Codec
from stream.exactly_once import Hold
from stream.replay.streams import Record
from stream.scoring import schema_resolution
from tests.support.processing import Processing, batch_of, event


class UnavailableResolver:
    """Resolver whose first lookups fail because the Schema Registry is unavailable; then it knows only schema 7."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.lookups = 0

    def by_fingerprint(self, schema_fingerprint: bytes) -> Schema:
        return LocalResolver().by_fingerprint(schema_fingerprint)

    def by_id(self, schema_id: int) -> Schema:
        self.lookups += 1
        if self.lookups <= self.failures:
            raise RegistryUnavailable("it does not answer")
        if schema_id != 7:
            raise UnknownSchemaError(f"no schema {schema_id}")
        return current(BehaviorEvent)

    def id_of(self, subject: str, record_type: type[object]) -> int:
        raise AssertionError("nothing is written in this format here")


def in_confluent_format(one: BehaviorEvent, schema_id: int = 7) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + Codec(BehaviorEvent).encode(one)[10:]


def test_intake_waits_for_an_unavailable_schema_registry(
    tokenizer: BehaviourTokenizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(schema_resolution, "_REGISTRY_PAUSE_S", 0.0)
    resolver = UnavailableResolver(failures=3)
    processing = Processing(tokenizer, resolver=resolver)
    records = [
        processing.record(event("e1")),
        processing.record(in_confluent_format(event("e2"))),
        processing.record(in_confluent_format(event("e3"), schema_id=8)),
        processing.record(in_confluent_format(event("e4"))),
    ]
    reasons: list[str | None] = []
    processing.processor.on_wait = reasons.append
    asyncio.run(processing.processor.prepare(batch_of(records)))
    assert caplog.text.count("waits for the Schema Registry") == 3
    assert reasons == ["waiting for the Schema Registry"] * 3 + [None]
    published = processing.deliver(*records)
    assert [score.event_id for score in published.scores] == ["e1", "e2", "e4"]
    assert [letter.reason for letter in published.dead_letters] == ["unknown_schema"]


def test_ask_registry_raises_while_the_registry_is_unavailable(tokenizer: BehaviourTokenizer) -> None:
    resolver = UnavailableResolver(failures=2)
    processing = Processing(tokenizer, resolver=resolver)
    batch = batch_of([processing.record(event("e1")), processing.record(in_confluent_format(event("e2")))])
    for lookups in (1, 2):
        with pytest.raises(RegistryUnavailable, match="it does not answer"):
            processing.processor.ask_registry(batch)
        assert resolver.lookups == lookups
    for _ in range(2):
        processing.processor.ask_registry(batch)
        assert resolver.lookups == 3


def test_known_schemas_are_not_looked_up_again(tokenizer: BehaviourTokenizer) -> None:
    resolver = UnavailableResolver(failures=0)
    processing = Processing(tokenizer, resolver=resolver)
    for number in range(3):
        record = processing.record(in_confluent_format(event(f"e{number}")))
        asyncio.run(processing.processor.prepare(batch_of([record])))
        processing.deliver(record)
    assert resolver.lookups == 1
    assert len(processing.published.scores) == 3


# --- events of a newer producer -----------------------------------------------------------------------------


class UpgradableResolver(LocalResolver):
    """Resolver that knows only the local schemas until it is upgraded."""

    def upgrade(self, schema: Schema) -> None:
        self._schemas = LocalResolver([schema])._schemas


def newer_schema() -> Schema:
    """Return the event schema of a later version of Sway, with a field at the end."""
    schema = current(BehaviorEvent)
    schema["fields"].append({"name": "campaign", "type": "string", "default": ""})
    return schema


def encoded_by_newer_producer(one: BehaviorEvent) -> bytes:
    return b"\xc3\x01" + fingerprint(newer_schema()) + Codec(BehaviorEvent).encode(one)[10:] + b"\x06new"


def test_an_event_of_a_newer_producer_is_dead_lettered(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer)
    record = processing.record(encoded_by_newer_producer(event("e1")))
    assert asyncio.run(processing.processor.prepare(batch_of([record]))) is None
    assert [letter.reason for letter in processing.deliver(record).dead_letters] == ["unknown_schema"]


def test_an_event_can_wait_for_an_upgrade_of_the_worker(tokenizer: BehaviourTokenizer) -> None:
    resolver = UpgradableResolver()
    processing = Processing(tokenizer, resolver=resolver, waits_for_schemas=True)
    records = [
        processing.record(event("e1")),
        processing.record(b"garbage"),
        processing.record(encoded_by_newer_producer(event("e2"))),
        processing.record(event("e3")),
    ]
    hold = asyncio.run(processing.processor.prepare(batch_of(records)))
    assert hold is not None
    assert (hold.readable, hold.missing) == (2, f"schema fingerprint {fingerprint(newer_schema()).hex()}")
    assert "Upgrade this worker" in hold.reason
    resolver.upgrade(newer_schema())
    assert asyncio.run(processing.processor.prepare(batch_of(records))) is None
    published = processing.deliver(*records)
    assert [score.event_id for score in published.scores] == ["e1", "e2", "e3"]
    assert [letter.reason for letter in published.dead_letters] == ["bad_magic"]


def test_an_unavailable_registry_pauses_only_partitions_that_need_it(tokenizer: BehaviourTokenizer) -> None:
    resolver = UnavailableResolver(failures=2)
    processing = Processing(tokenizer, resolver=resolver, waits_for_schemas=True)
    records = [processing.record(event("e1")), processing.record(in_confluent_format(event("e2")))]

    async def prepare(what: list[Record]) -> Hold | None:
        return await processing.processor.prepare(batch_of(what))

    for lookups in (1, 2):
        hold = asyncio.run(prepare(records))
        assert hold == Hold(1, "the Schema Registry", "it does not answer")
        assert resolver.lookups == lookups
        assert asyncio.run(prepare(records[:1])) is None
    assert asyncio.run(prepare(records)) is None
    assert [score.event_id for score in processing.deliver(*records).scores] == ["e1", "e2"]


def test_an_unknown_fingerprint_waits_without_the_registry(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, resolver=UnavailableResolver(failures=1), waits_for_schemas=True)
    records = [
        processing.record(encoded_by_newer_producer(event("e1"))),
        processing.record(in_confluent_format(event("e2"))),
    ]
    hold = asyncio.run(processing.processor.prepare(batch_of(records)))
    assert hold is not None
    assert (hold.readable, hold.missing) == (0, f"schema fingerprint {fingerprint(newer_schema()).hex()}")


def test_reading_never_asks_the_schema_registry(tokenizer: BehaviourTokenizer) -> None:
    resolver = UnavailableResolver(failures=0)
    processing = Processing(tokenizer, resolver=resolver)
    records = [processing.record(in_confluent_format(event("e1"), schema_id=8))]
    asyncio.run(processing.processor.prepare(batch_of(records)))
    # A lookup on the event loop would fail now.
    resolver.failures = 100
    (letter,) = processing.deliver(*records).dead_letters
    assert (letter.reason, letter.detail, resolver.lookups) == ("unknown_schema", "no schema 8", 1)
