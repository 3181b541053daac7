"""The words of a scored event's past, looked up by text key where they still stand."""

from collections.abc import Iterable

from model.features.keys import text_key
from model.tokens import BehaviourTokenizer
from schemas.records import LabeledExample
from schemas.wire import Codec
from stream.behaviours import WindowCodec
from sway.explaining.find import ScoredEvent, Wanted, wanted_examples
from sway.explaining.topics import Names, Topics, records_of


def words_by_key(
    topics: Topics,
    names: Names,
    event: ScoredEvent,
    tokenizer: BehaviourTokenizer,
    examples: Codec[LabeledExample],
    newest: int,
) -> dict[int, str]:
    """Return texts without outcomes by their keys: those of the user's window, then those of the user's examples.

    newest: if the window lacks some, so many of the newest offsets of the user's partition of examples are read.
    """
    texts = _by_key(_window_texts(topics, names, event.user_id, tokenizer))
    if event.target:
        texts[event.snapshot.text_key] = event.target
    if not set(event.snapshot.past["text"].tolist()) <= texts.keys():
        mine = Wanted(None, event.user_id)
        found = wanted_examples(topics, names, mine, examples, newest)
        texts |= _by_key(example.target for example in found)
    return texts


def _window_texts(topics: Topics, names: Names, user_id: str, tokenizer: BehaviourTokenizer) -> list[str]:
    newest = None
    for key, value in records_of(topics, names.windows, user_id):
        if key == user_id.encode():
            newest = value
    if newest is None:
        return []
    window = WindowCodec(tokenizer).loads(newest)
    return [piece.text for piece in tokenizer.targets([stored.behaviour for stored in window.entries])]


def _by_key(texts: Iterable[str]) -> dict[int, str]:
    return {text_key(text): text for text in texts}
