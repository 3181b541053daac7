"""Compares all that a read_committed reader sees, and the state, with a plain loop over what was produced.

Each check returns what is wrong, in words; nothing is wrong if all return nothing.
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
_IN_THE_WINDOW_ALL_THE_SAME = "scoring_failed"
_SHOWN = 5


@dataclass
class Audit:
    """What was produced and what became of it. problems: all but lost and duplicates, in words."""

    events: int
    scores: int
    dead_letters: int
    lost: int
    duplicates: int
    problems: list[str] = field(default_factory=list)
    texts: list[tuple[InfluenceScore, EncodedText]] = field(default_factory=list)
    """Each score with the text that it must have been made from."""


def audit(sway: Sway, registry: Path, answers: Answers) -> Audit:
    """Audit every topic and the state; all workers have ended and nothing is produced any more."""
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
    if (
        not found.lost and not found.duplicates
    ):  # else the order of reading is not known, and all would differ
        found.problems += _check_state(sway, registry, answers, found.texts)
    return found


def is_due(sway: Sway, where: Where, what: object) -> bool:
    """Whether an input must be answered: every event, and each outcome that is a bad one."""
    return where[0] == sway.topics.name("events") or (isinstance(what, Outcome) and where in sway.reasons)


def _check_reasons(sway: Sway, answers: Answers, due: set[Where]) -> Iterator[str]:
    if strangers := set(answers.seen) - due:
        yield f"answers to what was not asked: {sorted(strangers)[:_SHOWN]}"
    letters = {(one.topic, one.partition, one.offset): one.reason for one in answers.letters}
    wrong = {
        where for where in letters.keys() | sway.reasons if letters.get(where) != sway.reasons.get(where)
    }
    for where in sorted(wrong)[:_SHOWN]:
        yield f"{where}: dead letter {letters.get(where)} where {sway.reasons.get(where)} is due"


def _check_state(
    sway: Sway, registry: Path, answers: Answers, texts: list[tuple[InfluenceScore, EncodedText]]
) -> Iterator[str]:
    """Replay each partition in the order that the scores tell; compare flags, labels, changelog and RocksDB."""
    tokenizer = ModelRegistry(registry).load("tiny").tokenizer
    labels = PlainLabels()
    scores = {(s.source.partition, s.source.offset): s for s in answers.scores}
    windows: dict[str, list[Behaviour]] = {}
    events, outcomes = _by_partition(sway)
    for partition in range(sway.partitions):
        # Of one partition: each counts items for itself.
        plain = PlainWindows(tokenizer, LIMITS, MAX_ITEM_TEXT_CHARS)
        told = deque(outcomes[partition])
        for offset, event in events[partition]:
            score = scores.get((partition, offset))
            while told and score is not None and told[0][0] < score.outcomes_next:
                plain.outcome(labels.outcome(told.popleft()[1]))
            text, duplicate = plain.event(event, offset)
            if not duplicate:
                plain.outcome(labels.event(event))
            if score is not None:
                texts.append((score, text))
                if said := _differs(score, event, text, duplicate):
                    yield f"the score of {partition}/{offset} says {said}"
        for _offset, outcome in told:
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
            yield f"the window of {user} is not what a plain loop computes"
    for table in ("windows", "pending", "estimates", "items"):
        if sway.stores(table) != sway.changelog(table):
            yield f"{table}: RocksDB differs from its changelog"


def _by_partition(
    sway: Sway,
) -> tuple[dict[int, list[tuple[int, BehaviorEvent]]], dict[int, list[tuple[int, Outcome]]]]:
    """Return the good events and outcomes with their offsets, in order."""
    events: dict[int, list[tuple[int, BehaviorEvent]]] = defaultdict(list)
    outcomes: dict[int, list[tuple[int, Outcome]]] = defaultdict(list)
    for where, what in sorted(sway.produced, key=lambda pair: pair[0]):
        if sway.reasons.get(where) not in {None, _IN_THE_WINDOW_ALL_THE_SAME}:
            continue
        if isinstance(what, Outcome):
            outcomes[where[1]].append((where[2], what))
        if isinstance(what, BehaviorEvent):
            events[where[1]].append((where[2], what))
    return events, outcomes


def _differs(score: InfluenceScore, event: BehaviorEvent, text: EncodedText, duplicate: bool) -> str:
    said = {
        "event_id": (score.event_id, event.event_id),
        "duplicate": (score.duplicate, duplicate),
        "behaviours": (score.behaviours, text.behaviours),
        "truncated": (score.truncated, text.truncated or len(event.item_text) > MAX_ITEM_TEXT_CHARS),
    }
    return ", ".join(f"{name} {was} and not {due}" for name, (was, due) in said.items() if was != due)


def _check_examples(
    sway: Sway, labels: PlainLabels, texts: Sequence[tuple[InfluenceScore, EncodedText]]
) -> Iterator[str]:
    """Each label in exactly one example, with the estimates that were published."""
    examples = sway.examples()
    found = Counter((one.user_id, one.event_id, one.y, one.z) for one in examples)
    due = Counter(labels.joined)
    scored = {(score.user_id, score.event_id): score for score, _text in reversed(texts)}
    for label in list(due):  # what the model failed on has no estimate to learn from
        if (label[0], label[1]) not in scored:
            del due[label]
    if found != due:
        yield f"labels: {(found - due).total()} too many, {(due - found).total()} missing"
    for one in examples:
        score = scored.get((one.user_id, one.event_id))
        if score is None or (one.y_hat, one.z_hat, one.item_id) != (score.y_hat, score.z_hat, score.item_id):
            yield f"the example of {one.event_id} has not the estimates that were published"
            return
