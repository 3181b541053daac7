"""Finds what an event was scored with: beside its estimate while it waits for its label, else in its example."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from model.features.snapshot import Snapshot, SnapshotError
from schemas.errors import DecodeError
from schemas.records import Estimate, LabeledExample, PendingLabel, ScoredSnapshot
from schemas.wire import Codec
from stream.labels.state import estimates_codec, pending_codec, snapshot_key, user_and_id
from sway.errors import CommandError
from sway.explaining.topics import Names, Topics, records_of
from sway.tailing.show import printable

_SNAPSHOT_START = b"\xff"


@dataclass(frozen=True, slots=True)
class ScoredEvent:
    """An event, the score that was published for it, and what was known then.

    history, target: its words as the model read them; empty where they are not known. y: its label, None while it has
    none.
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
class Wanted:
    """Which event: of this id, or the newest that was scored of this user, or both."""

    event_id: str | None
    user_id: str | None

    def __str__(self) -> str:
        event = "scored event" if self.event_id is None else f"event {printable(self.event_id)}"
        return event if self.user_id is None else f"{event} of user {printable(self.user_id)}"

    def is_of(self, user_id: str, event_id: str) -> bool:
        """Say whether it is one of those."""
        return self.event_id in (None, event_id) and self.user_id in (None, user_id)


def find_event(
    topics: Topics, names: Names, wanted: Wanted, examples: Codec[LabeledExample], newest: int
) -> ScoredEvent:
    """Return the event that is wanted; of several, the newest.

    newest: how many of the newest offsets of each partition of examples are looked through.
    Raises CommandError if it is not there, or was kept without what it was scored with, or two users have it.
    """
    waiting = _waiting(topics, names, wanted)
    found = list(waiting)
    if wanted.event_id is None or not found:
        found += _labelled(topics, names, wanted, examples, newest)
    if not found and not topics.partitions(names.estimates):
        raise CommandError(
            f"there is no topic {names.estimates}: no worker of this application (SWAY_APP_ID) has kept what it scored "
            "with, because none has run or no label can come"
        )
    if not found:
        raise CommandError(
            f"there is no {wanted}: neither among those that wait for their labels nor among the newest {newest:,} "
            f"offsets of a partition of {names.examples} (--examples looks further back)"
        )
    complete = [one for one in found if isinstance(one, ScoredEvent)]
    if not complete:
        raise CommandError(
            f"{wanted} was scored by a worker that did not keep what it knew: an older version than this one"
        )
    users = sorted({one.user_id for one in complete})
    if len(users) > 1:
        raise CommandError(
            f"{wanted} is there of {len(users)} users: name one with --user, such as {users[0]}"
        )
    one = max(complete, key=lambda one: one.snapshot.at_ms)
    return one if one.target else _with_words(topics, names, one)


@dataclass(frozen=True, slots=True)
class _Incomplete:
    """An event whose score is there without what was known."""

    event_id: str


def _waiting(topics: Topics, names: Names, wanted: Wanted) -> Iterator[ScoredEvent | _Incomplete]:
    newest: dict[bytes, bytes] = {}
    for key, value in records_of(topics, names.estimates, wanted.user_id):
        if not wanted.is_of(*user_and_id(key.removeprefix(_SNAPSHOT_START).decode())):
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


def _with_words(topics: Topics, names: Names, event: ScoredEvent) -> ScoredEvent:
    """Return an event that waits for its label with the words that wait with it."""
    key = f"e{len(event.user_id)}:{event.user_id}{event.event_id}".encode()
    newest = None
    for found, value in records_of(topics, names.pending, event.user_id):
        if found == key:
            newest = value
    pending = None if newest is None else pending_codec().loads(newest)
    if not isinstance(pending, PendingLabel):
        return event
    return replace(event, history=pending.history, target=pending.target, y=pending.y)


def _labelled(
    topics: Topics, names: Names, wanted: Wanted, codec: Codec[LabeledExample], newest: int
) -> Iterator[ScoredEvent | _Incomplete]:
    for example in wanted_examples(topics, names, wanted, codec, newest):
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


def wanted_examples(
    topics: Topics, names: Names, wanted: Wanted, codec: Codec[LabeledExample], newest: int
) -> Iterator[LabeledExample]:
    """Yield the examples that are wanted, of the newest so many offsets of each partition."""
    for key, value in records_of(topics, names.examples, wanted.user_id, newest):
        if value is None or (wanted.user_id is not None and key != wanted.user_id.encode()):
            continue
        if (
            wanted.event_id is not None and wanted.event_id.encode() not in value
        ):  # a scan in C: nearly all are others
            continue
        try:
            example = codec.decode(value)
        except DecodeError as exc:
            raise CommandError(f"{names.examples} holds what is no LabeledExample: {exc}") from exc
        if wanted.is_of(example.user_id, example.event_id):
            yield example


def _decoded(raw: bytes, event_id: str) -> Snapshot:
    try:
        return Snapshot.decode(raw)
    except SnapshotError as exc:
        raise CommandError(
            f"what event {printable(event_id)} was scored with cannot be read: {exc}; use the version of Sway that "
            "wrote it, or a newer one"
        ) from exc
