"""Lookup of a scored event and its input: with its estimate while the label is pending, else in its example."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from model.features.snapshot import Snapshot, SnapshotError
from schemas.errors import DecodeError
from schemas.records import LabeledExample
from schemas.state_records import Estimate, PendingLabel, ScoredSnapshot
from schemas.wire import Codec
from stream.scoring.labels.state import estimates_codec, event_key, pending_codec, snapshot_key, user_and_id
from sway.errors import CommandError
from sway.explain.topics import TopicNames, Topics, records_of
from sway.untrusted import printable

_SNAPSHOT_START = b"\xff"


@dataclass(frozen=True, slots=True)
class ScoredEvent:
    """An event, its published score, and the input of that score.

    history, target: the texts as the model read them; empty if not stored. y: the label, None while pending.
    """

    event_id: str
    user_id: str
    model_version: str
    y_hat: float
    z_hat: float
    snapshot: Snapshot
    history: str = ""
    target: str = ""
    y: float | None = None


@dataclass(frozen=True, slots=True)
class EventQuery:
    """A query for an event by its id, its user, or both; the newest match is the result."""

    event_id: str | None
    user_id: str | None

    def __str__(self) -> str:
        event = "scored event" if self.event_id is None else f"event {printable(self.event_id)}"
        return event if self.user_id is None else f"{event} of user {printable(self.user_id)}"

    def matches(self, user_id: str, event_id: str) -> bool:
        """Return whether an event matches."""
        return self.event_id in (None, event_id) and self.user_id in (None, user_id)


def find_event(
    topics: Topics, names: TopicNames, query: EventQuery, examples: Codec[LabeledExample], newest: int
) -> ScoredEvent:
    """Return the newest event that matches.

    newest: number of newest offsets to search in each partition of the examples topic.
    Raises CommandError if there is none, its input is not stored, or several users have an event with this id.
    """
    found = list(_pending(topics, names, query))
    if query.event_id is None or not found:
        found += _labelled(topics, names, query, examples, newest)
    if not found and not topics.partitions(names.estimates):
        raise CommandError(
            f"there is no topic {names.estimates}: no worker of this application (SWAY_APP_ID) has stored the input of "
            "scores, because none has run yet or labels are disabled"
        )
    if not found:
        raise CommandError(
            f"there is no {query}: neither among the events with pending labels nor in the newest {newest:,} offsets "
            f"of any partition of {names.examples} (--examples searches further back)"
        )
    complete = [one for one in found if isinstance(one, ScoredEvent)]
    if not complete:
        raise CommandError(
            f"{query} was scored by an older version of the worker, which did not store the input of scores"
        )
    users = sorted({one.user_id for one in complete})
    if len(users) > 1:
        raise CommandError(f"{query} exists for {len(users)} users: give one with --user, such as {users[0]}")
    one = max(complete, key=lambda one: one.snapshot.at_ms)
    return one if one.target else _with_texts(topics, names, one)


@dataclass(frozen=True, slots=True)
class _Incomplete:
    """A scored event whose input is not stored."""

    event_id: str


def _pending(topics: Topics, names: TopicNames, query: EventQuery) -> Iterator[ScoredEvent | _Incomplete]:
    newest: dict[bytes, bytes] = {}
    for key, value in records_of(topics, names.estimates, query.user_id):
        if not query.matches(*user_and_id(key.removeprefix(_SNAPSHOT_START).decode())):
            continue
        if value is None:
            newest.pop(key, None)
        else:
            newest[key] = value
    codec = estimates_codec()
    for key, value in newest.items():
        if key.startswith(_SNAPSHOT_START):
            continue
        user_id, event_id = user_and_id(key.decode())
        estimate, raw = codec.loads(value), newest.get(snapshot_key(key))
        known = None if raw is None else codec.loads(raw)
        if isinstance(estimate, Estimate) and isinstance(known, ScoredSnapshot):
            version, snapshot = estimate.model_version, _decoded(known.snapshot, event_id)
            yield ScoredEvent(event_id, user_id, version, estimate.y_hat, estimate.z_hat, snapshot)
        else:
            yield _Incomplete(event_id)


def _with_texts(topics: Topics, names: TopicNames, event: ScoredEvent) -> ScoredEvent:
    """Return an event with a pending label together with its stored texts."""
    key = event_key(event.user_id, event.event_id).encode()
    newest = None
    for found, value in records_of(topics, names.pending, event.user_id):
        if found == key:
            newest = value
    pending = None if newest is None else pending_codec().loads(newest)
    if not isinstance(pending, PendingLabel):
        return event
    return replace(event, history=pending.history, target=pending.target, y=pending.y)


def _labelled(
    topics: Topics, names: TopicNames, query: EventQuery, codec: Codec[LabeledExample], newest: int
) -> Iterator[ScoredEvent | _Incomplete]:
    for example in matching_examples(topics, names, query, codec, newest):
        if example.snapshot is None:
            yield _Incomplete(example.event_id)
            continue
        yield ScoredEvent(
            example.event_id,
            example.user_id,
            example.model_version,
            example.y_hat,
            example.z_hat,
            _decoded(example.snapshot, example.event_id),
            example.history,
            example.target,
            example.y,
        )


def matching_examples(
    topics: Topics, names: TopicNames, query: EventQuery, codec: Codec[LabeledExample], newest: int
) -> Iterator[LabeledExample]:
    """Yield the matching examples among the newest offsets of each partition."""
    for key, value in records_of(topics, names.examples, query.user_id, newest):
        if value is None or (query.user_id is not None and key != query.user_id.encode()):
            continue
        # A byte search is much faster than decoding, and rules out almost all records.
        if query.event_id is not None and query.event_id.encode() not in value:
            continue
        try:
            example = codec.decode(value)
        except DecodeError as exc:
            raise CommandError(
                f"{names.examples} contains a record that is not a LabeledExample: {exc}"
            ) from exc
        if query.matches(example.user_id, example.event_id):
            yield example


def _decoded(raw: bytes, event_id: str) -> Snapshot:
    try:
        return Snapshot.decode(raw)
    except SnapshotError as exc:
        raise CommandError(
            f"the stored input of event {printable(event_id)} cannot be read: {exc}; use the version of Sway that "
            "wrote it, or a newer one"
        ) from exc
