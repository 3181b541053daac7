"""Lookup of the behaviour texts of a scored event's past, by text key."""

from collections.abc import Iterable, Iterator

from model.features.keys import text_key
from model.tokens import BehaviourTokenizer
from schemas.records import LabeledExample
from schemas.state_records import PendingLabel
from schemas.wire import Codec
from stream.scoring.behaviours import WindowCodec
from stream.scoring.labels.state import event_key, pending_codec
from sway.explain.find import EventQuery, ScoredEvent, matching_examples
from sway.explain.topics import TopicNames, Topics, records_of


def texts_by_key(
    topics: Topics,
    names: TopicNames,
    event: ScoredEvent,
    tokenizer: BehaviourTokenizer,
    examples: Codec[LabeledExample],
    newest: int,
) -> dict[int, str]:
    """Return behaviour texts without outcomes by text key.

    They come from the user's window; if it lacks some, from the user's pending labels, then from the user's examples.
    newest: the number of newest offsets to read from the user's partition of the examples topic.
    """
    past = set(event.snapshot.past["text"].tolist())
    texts = _by_key(_window_texts(topics, names, event.user_id, tokenizer))
    if event.target:
        texts[event.snapshot.text_key] = event.target
    if not past <= texts.keys():
        texts |= _by_key(_pending_texts(topics, names, event.user_id))
    if not past <= texts.keys():
        mine = EventQuery(None, event.user_id)
        found = matching_examples(topics, names, mine, examples, newest)
        texts |= _by_key(example.target for example in found)
    return texts


def _window_texts(
    topics: Topics, names: TopicNames, user_id: str, tokenizer: BehaviourTokenizer
) -> list[str]:
    newest = None
    for key, value in records_of(topics, names.windows, user_id):
        if key == user_id.encode():
            newest = value
    if newest is None:
        return []
    window = WindowCodec(tokenizer).loads(newest)
    return [piece.text for piece in tokenizer.targets([stored.behaviour for stored in window.entries])]


def _pending_texts(topics: Topics, names: TopicNames, user_id: str) -> Iterator[str]:
    """Yield the texts of the user's events whose labels are pending."""
    start = event_key(user_id, "").encode()
    newest = {
        key: value for key, value in records_of(topics, names.pending, user_id) if key.startswith(start)
    }
    codec = pending_codec()
    for value in newest.values():
        pending = None if value is None else codec.loads(value)
        if isinstance(pending, PendingLabel) and pending.target:
            yield pending.target


def _by_key(texts: Iterable[str]) -> dict[int, str]:
    return {text_key(text): text for text in texts}
