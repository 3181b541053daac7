"""Cost of encoding and decoding a record: `python -m benchmarks.decode`.

Each row compares Sway's cost with a peer's for the same record. Both are the best of several alternating rounds of the
same run, so that other load slows both. The ratio is Sway's cost over the peer's; below 1 is faster.
"""

import dataclasses
import io
import time
from collections.abc import Callable
from typing import Any

import fastavro
from confluent_kafka.schema_registry import Schema as RegistrySchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from benchmarks.rows import Row
from schemas.contracts import current, current_text, fingerprint, parsed
from schemas.convert import to_mapping
from schemas.records import BehaviorEvent, InfluenceScore, Source
from schemas.registry import RegistryResolver
from schemas.resolvers import LocalResolver
from schemas.state_records import Behaviour, Window
from schemas.window_state import encode_behaviour, join_window, split_blocks
from schemas.wire import Codec

BATCH = 512
ROUNDS = 15
SUBJECT = "sway.events-value"
EVENT = BehaviorEvent(
    "e-0123456789abcdef",
    "user-12345",
    "watch",
    1_700_000_000_000,
    "item-1234",
    "Toy Story (1995) animation children comedy",
    12.5,
    "movies",
)
SCORE = InfluenceScore(
    event_id="e-0123456789abcdef",
    user_id="user-12345",
    item_id="item-1234",
    y_hat=0.3,
    z_hat=0.4,
    influence=0.35,
    model_version="20250101T000000-abcdef",
    dtype="bf16",
    behaviours=12,
    truncated=False,
    duplicate=False,
    source=Source("sway.events", 3, 123_456),
    outcomes_next=345,
    occurred_at=1_700_000_000_000,
    scored_at=1_700_000_000_123,
)
BEHAVIOUR = Behaviour(
    "e-0123456789abcdef", 123_456, 1_700_000_000_000, "watch", "item-1234", EVENT.item_text, 12.5
)


def rows() -> list[Row]:
    """Return one row per operation."""
    return [
        _decode(),
        _decode_confluent(),
        _decode_evolved(),
        _encode("encode BehaviorEvent", EVENT),
        _encode("encode InfluenceScore", SCORE),
        _split_window(),
        _build(),
    ]


def _decode() -> Row:
    codec = Codec(BehaviorEvent)
    schema = parsed(current(BehaviorEvent))
    values = [codec.encode(EVENT)] * BATCH
    return _row(
        "decode BehaviorEvent",
        lambda: codec.decode_batch(values),
        "bare fastavro to a dict",
        lambda: [fastavro.schemaless_reader(io.BytesIO(value[10:]), schema, None) for value in values],
        aim=1.0,
    )


def _decode_confluent() -> Row:
    client = SchemaRegistryClient.new_client({"url": "mock://decode"})
    client.register_schema(SUBJECT, RegistrySchema(current_text(BehaviorEvent), "AVRO"))
    resolver = RegistryResolver(client)
    codec = Codec(BehaviorEvent, resolver=resolver, write="confluent", subject=SUBJECT)
    values = [codec.encode(EVENT)] * BATCH
    deserializer = AvroDeserializer(client, current_text(BehaviorEvent))
    context = SerializationContext("sway.events", MessageField.VALUE)
    return _row(
        "decode BehaviorEvent, Confluent's format",
        lambda: codec.decode_batch(values),
        "confluent-kafka's AvroDeserializer",
        lambda: [deserializer(value, context) for value in values],
        aim=0.5,
    )


def _decode_evolved() -> Row:
    schema = current(BehaviorEvent)
    writer = {**schema, "fields": [*schema["fields"], {"name": "more", "type": "string"}]}
    codec = Codec(BehaviorEvent, resolver=LocalResolver([writer]))
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, parsed(writer), {**to_mapping(EVENT), "more": "x"})
    values = [b"\xc3\x01" + fingerprint(writer) + stream.getvalue()] * BATCH
    theirs, ours = parsed(writer), parsed(schema)
    return _row(
        "decode BehaviorEvent of a newer producer",
        lambda: codec.decode_batch(values),
        "bare fastavro to a dict, resolving",
        lambda: [fastavro.schemaless_reader(io.BytesIO(value[10:]), theirs, ours) for value in values],
        aim=2.0,
    )


def _encode(name: str, record: BehaviorEvent | InfluenceScore) -> Row:
    codec: Codec[Any] = Codec(type(record))
    schema = parsed(current(type(record)))
    records, mappings = [record] * BATCH, [to_mapping(record)] * BATCH

    def bare() -> None:
        for mapping in mappings:
            stream = io.BytesIO()
            fastavro.schemaless_writer(stream, schema, mapping)
            stream.getvalue()

    return _row(name, lambda: codec.encode_batch(records), "bare fastavro from a dict", bare, aim=1.0)


def _split_window() -> Row:
    value = join_window([encode_behaviour(BEHAVIOUR)] * 50)
    schema = parsed(current(Window))
    values = [value] * 16
    return _row(
        "cut a window of 50 into its blocks",
        lambda: [split_blocks(value) for value in values],
        "bare fastavro to dicts",
        lambda: [fastavro.schemaless_reader(io.BytesIO(value[10:]), schema, None) for value in values],
        aim=0.2,
        times=len(values),
    )


def _build() -> Row:
    frozen = dataclasses.make_dataclass(
        "Frozen", [field.name for field in dataclasses.fields(BehaviorEvent)], frozen=True, slots=True
    )
    values = tuple(to_mapping(EVENT).values())
    return _row(
        "build a BehaviorEvent",
        lambda: [BehaviorEvent(*values) for _ in range(BATCH)],
        "the same class, frozen",
        lambda: [frozen(*values) for _ in range(BATCH)],
        aim=0.5,
    )


def _row(
    name: str,
    ours: Callable[[], object],
    peer: str,
    theirs: Callable[[], object],
    *,
    aim: float,
    times: int = BATCH,
) -> Row:
    best_ours = best_theirs = float("inf")
    for _ in range(ROUNDS):
        best_ours = min(best_ours, _seconds(ours))
        best_theirs = min(best_theirs, _seconds(theirs))
    return Row.compared(name, best_ours / times * 1e6, "µs", peer, best_theirs / times * 1e6, at_most=aim)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Print the rows as a table."""
    for row in rows():
        print(
            f"{row.name:42} {row.value:8.2f} {row.unit}   {row.peer:36} {row.peer_value:8.2f}   "
            f"ratio {row.ratio:5.2f}, aim {row.aim}, {'met' if row.met else 'MISSED'}"
        )


if __name__ == "__main__":
    main()
