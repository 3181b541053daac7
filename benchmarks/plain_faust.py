"""A peer of the worker: a plain Faust agent that processes one event at a time: `python -m benchmarks.plain_faust`.

It follows Faust's documentation: an agent that reads a stream, a Table with a codec for its values, and `topic.send`,
with Faust's default of at-least-once delivery. It uses the worker's Avro codecs, checks, windows, texts and token ids,
so that only the transport of records, state and output differs.

It reads Sway's settings from the environment. The argument is the table's store, `rocksdb://` by default, through
rocksdict as in Sway. `memory://` favours the peer, because it stores windows as objects and does not decode them.
"""

import logging
import sys
from typing import Any

import faust
from faust.serializers.codecs import Codec as ValueCodec
from faust.worker import Worker

from benchmarks.children import die_with_parent
from benchmarks.zero_score import zero_score
from model.loading import joint
from schemas.records import BehaviorEvent, InfluenceScore, Source
from schemas.validate import check_event
from schemas.wire import Codec
from stream.assembly import load_champion
from stream.scoring.behaviours import BehaviourLimits, WindowCodec, behaviour_of, encode_text, entry_of
from stream.scoring.windows import Window, WindowLimits, find, history, insert
from stream.settings import Settings


class Windows(ValueCodec):  # type: ignore[misc]
    """The codec of the table's values."""

    def __init__(self, codec: WindowCodec) -> None:
        super().__init__()
        self._codec = codec

    def _loads(self, raw: bytes) -> Any:
        return self._codec.loads(raw)

    def _dumps(self, window: Any) -> bytes:
        return self._codec.dumps(window)


def build(settings: Settings, store: str) -> faust.App:
    """Return the app, with a single agent."""
    model = joint(load_champion(settings))
    tokenizer = model.tokenizer
    kept = BehaviourLimits(settings.text.max_item_text_chars)
    empty = Window(tokenizer=tokenizer)
    limits = WindowLimits(settings.window.max_behaviours, settings.window.max_bytes)
    decode, encode = Codec(BehaviorEvent).decode, Codec(InfluenceScore).encode

    app = faust.App(
        settings.app_id,
        broker=f"kafka://{settings.kafka.bootstrap_servers}",
        store=store,
        datadir=str(settings.state_dir),
        topic_partitions=settings.topics.partitions,
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    raw = {"key_type": bytes, "value_type": bytes, "value_serializer": "raw"}
    events = app.topic(settings.topics.events, **raw)
    scores = app.topic(settings.topics.scores, **raw)
    windows = app.Table("windows", key_type=bytes)
    windows.value_serializer = Windows(WindowCodec(tokenizer))

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def score(stream: Any) -> None:
        async for message in stream.events():
            key, source = message.key, message.message
            event = decode(message.value)
            wrong = check_event(event, int(source.timestamp * 1000)) or key != event.user_id.encode()
            if wrong:
                raise ValueError(
                    f"{source.topic}[{source.partition}]@{source.offset}: the load must not have invalid events"
                )
            window = windows.get(key) or empty
            behaviour, cut = behaviour_of(event, source.offset, kept)
            target = tokenizer.target(behaviour)
            entry = entry_of(behaviour, target)
            text, _ = encode_text(history(window, entry.position), target, tokenizer)
            windows[key] = insert(window, entry, limits)
            where = Source(source.topic, source.partition, source.offset)
            duplicate = find(window, event.event_id) is not None
            found = zero_score(event, text, where, model, cut=cut, duplicate=duplicate)
            await scores.send(key=key, value=encode(found))

    return app


def main() -> None:
    """Run the agent until it receives a signal."""
    die_with_parent()
    logging.basicConfig(level=logging.WARNING)
    app = build(Settings(), sys.argv[1] if len(sys.argv) > 1 else "rocksdb://")
    Worker(app, loglevel="WARNING", redirect_stdouts=False, override_logging=False).execute_from_commandline()


if __name__ == "__main__":
    main()
