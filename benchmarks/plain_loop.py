"""A peer of replay: a plain confluent-kafka loop that does the same work: `python -m benchmarks.plain_loop TOPIC`.

One loop consumes, decodes, checks, updates windows, builds texts and token ids, encodes and produces. Windows are in a
dictionary, without storage on disk and without transactions, so a crash means a restart from the beginning. Codecs,
windows and texts are those of replay, so that only the transport of records, state and output differs. Prints records
and seconds, from the first fetch to the last acknowledgement.
"""

import sys
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from benchmarks.children import die_with_parent
from benchmarks.zero_score import zero_score
from model.loading import joint
from schemas.errors import DecodeError
from schemas.records import BehaviorEvent, InfluenceScore, Source
from schemas.validate import check_event
from schemas.wire import Codec
from stream.assembly import load_champion, tune_garbage_collection
from stream.scoring.behaviours import BehaviourLimits, behaviour_of, encode_text, entry_of
from stream.scoring.windows import Window, WindowLimits, find, history, insert
from stream.settings import PARTITIONER, Settings

_READ = 1_000


def main() -> None:
    """Process the topic to its end."""
    die_with_parent()
    settings = Settings()
    model = joint(load_champion(settings))
    tokenizer = model.tokenizer
    kept = BehaviourLimits(settings.text.max_item_text_chars)
    empty = Window(tokenizer=tokenizer)
    limits = WindowLimits(settings.window.max_behaviours, settings.window.max_bytes)
    decode, encode = Codec(BehaviorEvent).decode_batch, Codec(InfluenceScore).encode
    servers = {"bootstrap.servers": settings.kafka.bootstrap_servers}
    consumer = Consumer(
        {
            **servers,
            "group.id": "plain-loop",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    producer = Producer(
        {
            **servers,
            "partitioner": PARTITIONER,
            "compression.type": "lz4",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    windows: dict[bytes, Window] = {}
    ended: set[int] = set()
    records = 0
    tune_garbage_collection()
    began = time.perf_counter()
    topic = settings.topics.events
    consumer.assign([TopicPartition(topic, number, 0) for number in range(settings.topics.partitions)])
    while len(ended) < settings.topics.partitions:
        messages = []
        for message in consumer.consume(_READ, 0.1):
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition() or 0)
        events = decode([message.value() for message in messages])
        behaviours = [
            behaviour_of(event, message.offset() or 0, kept)
            for event, message in zip(events, messages, strict=True)
            if not isinstance(event, DecodeError)
        ]
        targets = tokenizer.targets([behaviour for behaviour, _cut in behaviours])
        for message, event, (behaviour, cut), target in zip(
            messages, events, behaviours, targets, strict=True
        ):
            key = message.key()
            if (
                isinstance(event, DecodeError)
                or check_event(event, message.timestamp()[1])
                or key != event.user_id.encode()
            ):
                raise ValueError("the load must not have invalid events")
            window = windows.get(key, empty)
            entry = entry_of(behaviour, target)
            text, _ = encode_text(history(window, entry.position), target, tokenizer)
            duplicate = find(window, event.event_id) is not None
            windows[key] = insert(window, entry, limits)
            source = Source(topic, message.partition() or 0, message.offset() or 0)
            score = zero_score(event, text, source, model, cut=cut, duplicate=duplicate)
            producer.produce(sys.argv[1], encode(score), key)
        producer.poll(0)
        records += len(messages)
    producer.flush()
    print(records, time.perf_counter() - began)


if __name__ == "__main__":
    main()
