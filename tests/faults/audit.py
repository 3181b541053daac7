"""Compare all committed output and the state with a plain loop over the produced inputs.

Each check yields descriptions of problems; none if all is correct.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.registry import ModelRegistry
from model.tokens import EncodedText
from schemas.records import BehaviorEvent, InfluenceScore, Outcome
from schemas.state_records import Behaviour
from stream.scoring.behaviours import WindowCodec
from stream.scoring.windows import WindowLimits
from tests.faults.answers import Answers, Where
from tests.integration.workers import Sway
from tests.support.plain_labels import PlainLabels
from tests.support.plain_windows import PlainWindows

LIMITS = WindowLimits()
MAX_ITEM_TEXT_CHARS = 512
# The dead letter of an event that is in its user's window nevertheless.
_SCORING_FAILED = "scoring_failed"
_SHOWN = 5


@dataclass
class Audit:
    """The result of an audit. problems: descriptions of everything but lost and duplicate records."""

    events: int
    scores: int
    dead_letters: int
    lost: int
    duplicates: int
    problems: list[str] = field(default_factory=list)
    texts: list[tuple[InfluenceScore, EncodedText]] = field(default_factory=list)
    """Each score with the text that it must be computed from."""


def audit(sway: Sway, registry: Path, answers: Answers) -> Audit:
    """Audit every topic and the state, after all workers and the load have ended."""
    answers.read_to_the_end()
    due = {where for where, what in sway.produced if is_due(sway, where, what)}
    found = Audit(
        events=sum(where[0] == sway.topics.name("events") for where in due),
        scores=len(answers.scores),
        dead_letters=len(answers.letters),
        lost=len(due - set(answers.seen)),
        duplicates=sum(count - 1 for count in answers.seen.values()),
    )
    found.problems += _check_reasons(sway, answers, due)
    # With lost or duplicate records the order of reading is unknown, and every comparison would fail.
    if not found.lost and not found.duplicates:
        found.problems += _check_state(sway, registry, answers, found.texts)
    return found


def is_due(sway: Sway, where: Where, what: object) -> bool:
    """Return whether an input must be answered: every event, and each invalid outcome."""
    return where[0] == sway.topics.name("events") or (isinstance(what, Outcome) and where in sway.reasons)


def _check_reasons(sway: Sway, answers: Answers, due: set[Where]) -> Iterator[str]:
    if unexpected := set(answers.seen) - due:
        yield f"answers to records that need none: {sorted(unexpected)[:_SHOWN]}"
    letters = {(one.topic, one.partition, one.offset): one.reason for one in answers.letters}
    wrong = {
        where for where in letters.keys() | sway.reasons if letters.get(where) != sway.reasons.get(where)
    }
    for where in sorted(wrong)[:_SHOWN]:
        yield f"{where}: dead letter {letters.get(where)}, expected {sway.reasons.get(where)}"


def _check_state(
    sway: Sway, registry: Path, answers: Answers, texts: list[tuple[InfluenceScore, EncodedText]]
) -> Iterator[str]:
    """Replay each partition in the order recorded by its scores; compare flags, labels, changelog and RocksDB."""
    tokenizer = ModelRegistry(registry).load("tiny").tokenizer
    labels = PlainLabels()
    scores = {(s.source.partition, s.source.offset): s for s in answers.scores}
    windows: dict[str, list[Behaviour]] = {}
    events, outcomes = _by_partition(sway)
    for partition in range(sway.partitions):
        # Each partition counts items separately.
        plain = PlainWindows(tokenizer, LIMITS, MAX_ITEM_TEXT_CHARS)
        waiting = deque(outcomes[partition])
        for offset, event in events[partition]:
            score = scores.get((partition, offset))
            while waiting and score is not None and waiting[0][0] < score.outcomes_next:
                plain.outcome(labels.outcome(waiting.popleft()[1]))
            text, duplicate = plain.event(event, offset)
            if not duplicate:
                plain.outcome(labels.event(event))
            if score is not None:
                texts.append((score, text))
                if differences := _differences(score, event, text, duplicate=duplicate):
                    yield f"the score of {partition}/{offset} has {differences}"
        for _offset, outcome in waiting:
            plain.outcome(labels.outcome(outcome))
        windows.update({user: window for user, window in plain.windows.items() if window})
    yield from _check_examples(sway, labels, texts)
    yield from _check_windows(sway, WindowCodec(tokenizer), windows)


def _check_windows(sway: Sway, codec: WindowCodec, windows: dict[str, list[Behaviour]]) -> Iterator[str]:
    changelog = sway.changelog()
    kept = {
        key.decode(): [entry.behaviour for entry in codec.loads(raw).entries]
        for users in changelog.values()
        for key, raw in users.items()
    }
    for user in sorted(kept.keys() | windows):
        if kept.get(user) != windows.get(user):
            yield f"the window of {user} differs from that of a plain loop"
    for table in ("windows", "pending", "estimates", "items"):
        if sway.stores(table) != sway.changelog(table):
            yield f"{table}: RocksDB differs from its changelog"


def _by_partition(
    sway: Sway,
) -> tuple[dict[int, list[tuple[int, BehaviorEvent]]], dict[int, list[tuple[int, Outcome]]]]:
    """Return the valid events and outcomes with their offsets, in order."""
    events: dict[int, list[tuple[int, BehaviorEvent]]] = defaultdict(list)
    outcomes: dict[int, list[tuple[int, Outcome]]] = defaultdict(list)
    for where, what in sorted(sway.produced, key=lambda pair: pair[0]):
        if sway.reasons.get(where) not in {None, _SCORING_FAILED}:
            continue
        if isinstance(what, Outcome):
            outcomes[where[1]].append((where[2], what))
        if isinstance(what, BehaviorEvent):
            events[where[1]].append((where[2], what))
    return events, outcomes


def _differences(score: InfluenceScore, event: BehaviorEvent, text: EncodedText, *, duplicate: bool) -> str:
    values = {
        "event_id": (score.event_id, event.event_id),
        "duplicate": (score.duplicate, duplicate),
        "behaviours": (score.behaviours, text.behaviours),
        "truncated": (score.truncated, text.truncated or len(event.item_text) > MAX_ITEM_TEXT_CHARS),
    }
    return ", ".join(f"{name} {was} and not {due}" for name, (was, due) in values.items() if was != due)


def _check_examples(
    sway: Sway, labels: PlainLabels, texts: Sequence[tuple[InfluenceScore, EncodedText]]
) -> Iterator[str]:
    """Check that each label is in exactly one example, with the published estimates."""
    examples = sway.examples()
    found = Counter((one.user_id, one.event_id, one.y, one.z) for one in examples)
    due = Counter(labels.joined)
    scored = {(score.user_id, score.event_id): score for score, _text in reversed(texts)}
    # Events whose scoring failed have no estimate, and therefore no example.
    for label in list(due):
        if (label[0], label[1]) not in scored:
            del due[label]
    if found != due:
        yield f"labels: {(found - due).total()} too many, {(due - found).total()} missing"
    for one in examples:
        score = scored.get((one.user_id, one.event_id))
        if score is None or (one.y_hat, one.z_hat, one.item_id) != (score.y_hat, score.z_hat, score.item_id):
            yield f"the example of {one.event_id} does not have the published estimates"
            return
