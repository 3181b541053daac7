"""Tell Sway that a user did something: `python examples/produce_event.py 127.0.0.1:9092 sway.events`."""

import sys
import time
import uuid

from confluent_kafka import Producer

from schemas.records import BehaviorEvent
from schemas.wire import Codec

bootstrap_servers, topic = sys.argv[1:]
codec = Codec(BehaviorEvent)  # Avro, single-object encoding: needs no Schema Registry
producer = Producer(
    {
        "bootstrap.servers": bootstrap_servers,
        "partitioner": "murmur2_random",  # librdkafka's default would put users where Sway does not look
        "enable.idempotence": True,
    }
)
event = BehaviorEvent(
    event_id=str(uuid.uuid4()),  # the same id again is taken for the same event, and flagged
    user_id="ada",
    action="view",
    occurred_at=int(time.time() * 1000),  # milliseconds
    item_id="lamp-2",
    item_text="Reading lamp with a clamp",
    value=49.5,
)
failures: list[object] = []
producer.produce(
    topic,
    codec.encode(event),
    key=event.user_id,  # always: it decides the partition, and a worker checks it
    on_delivery=lambda error, _message: failures.append(error) if error else None,
)
if producer.flush(10) or failures:
    sys.exit(f"the broker did not take the event: {failures or 'no answer within 10 s'}")
