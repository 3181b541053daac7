"""A model's predictions for examples, and its time per text, by the model's own forward pass."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batches import batches_of_similar_length
from model.features.keys import NO_KEY
from model.features.snapshot import Snapshot
from model.forward import ScoringModel
from model.jobs import Job, LateText
from model.late_model import LateModel
from model.loading import Model
from model.tokens import BehaviourTokenizer, Piece
from trainer.dataset import Example
from trainer.known_texts import known_texts
from trainer.late_snapshots import snapshot_of

FloatArray = NDArray[np.float32]

BATCH_TOKENS = 4096
_TIMED_TEXTS = 48
_TIMED_PASSES = 9


class Times(NamedTuple):
    """Milliseconds per text.

    warm: with a filled vector cache. cold: with an empty one; NaN for a joint model.
    """

    warm: float
    cold: float


def score_examples(
    model: Model,
    examples: Sequence[Example],
    *,
    texts: Mapping[int, str] | None = None,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> tuple[FloatArray, FloatArray]:
    """Return y_hat and z_hat, float32 (N,) each, in the examples' order; they may be NaN.

    texts: texts of past behaviours by key, for the late reading; None uses the texts found in the examples.
    batch_tokens: the maximum size of a batch including padding; texts of similar length share a batch. progress: called
    with the number of examples done and their total.
    Raises ValueError for an example that the model cannot read (can_score).
    """
    return _score(model, jobs_of(model, examples, texts), batch_tokens, progress)


def measure_in_turns(
    models: Sequence[Model], examples: Sequence[Example], texts: Mapping[int, str] | None = None
) -> list[Times]:
    """Measure each model's time per text: forward passes in batches, without tokenization.

    models: newly loaded, with empty caches. texts: see score_examples.
    The models alternate on the same evenly spaced sample of the examples. The result is the minimum over passes,
    because other load on the machine can only slow a pass down. A late model's first pass is the cold one.
    Raises ValueError without examples.
    """
    if not examples:
        raise ValueError("no examples to time a model with")
    step = max(1, len(examples) // _TIMED_TEXTS)
    sample = examples[::step][:_TIMED_TEXTS]
    known = known_texts(examples) if texts is None else texts
    jobs = [jobs_of(model, sample, known) for model in models]
    took: list[list[float]] = [[] for _ in models]
    for model in models:
        model.score_texts([model.probe])  # type: ignore[list-item]  # each reads its own probe
    for _ in range(_TIMED_PASSES + 1):
        for index, model in enumerate(models):
            began_s = time.perf_counter()
            _score(model, jobs[index], BATCH_TOKENS, lambda _done, _of: None)
            took[index].append((time.perf_counter() - began_s) * 1000 / len(sample))
    return [
        Times(min(times[1:]), times[0] if isinstance(model, LateModel) else float("nan"))
        for model, times in zip(models, took, strict=True)
    ]


def can_score(model: Model, example: Example) -> bool:
    """Return whether a model can read an example; a late model needs a readable snapshot."""
    return not isinstance(model, LateModel) or snapshot_of(example) is not None


def can_compare(models: Sequence[Model], example: Example) -> bool:
    """Return whether models can be compared on an example.

    All must be able to read it (can_score). If their readings differ, the example also needs its history in words.
    Workers with a late model write no history, so a joint model would be evaluated without it.
    """
    if not all(can_score(model, example) for model in models):
        return False
    if len({model.reading for model in models}) == 1 or example.history:
        return True
    snapshot = snapshot_of(example)
    return snapshot is not None and not len(snapshot.past)


def jobs_of(
    model: Model, examples: Sequence[Example], texts: Mapping[int, str] | None = None
) -> Sequence[Job]:
    """Return the model's inputs for examples. texts and errors: see score_examples."""
    if isinstance(model, LateModel):
        return _late_texts(model.tokenizer, examples, known_texts(examples) if texts is None else texts)
    return model.tokenizer.encode_texts([(example.history, example.target) for example in examples])


def _late_texts(
    tokenizer: BehaviourTokenizer, examples: Sequence[Example], texts: Mapping[int, str]
) -> list[LateText]:
    snapshots = [snapshot_of(example) for example in examples]
    targets = tokenizer.words([example.target for example in examples])
    found = []
    for snapshot, piece in zip(snapshots, targets, strict=True):
        if snapshot is None:
            raise ValueError("an example without a snapshot cannot be read by a late model")
        known = _with_known_texts(snapshot, texts)
        found.append(LateText(known, piece, partial(_past, tokenizer, texts, known), piece.cut))
    return found


def _with_known_texts(snapshot: Snapshot, texts: Mapping[int, str]) -> Snapshot:
    """Replace the keys of unknown past texts by that of the empty text, as in trainer.text_vectors.

    The key must change too, because a model caches vectors by key and the text may become known later.
    """
    past = snapshot.past.copy()
    past["text"] = [key if key in texts else NO_KEY for key in past["text"].tolist()]
    return replace(snapshot, past=past)


def _past(tokenizer: BehaviourTokenizer, texts: Mapping[int, str], snapshot: Snapshot) -> list[Piece]:
    return tokenizer.words([texts.get(key, "") for key in snapshot.past["text"].tolist()])


def _score(
    model: ScoringModel, texts: Sequence[Any], batch_tokens: int, progress: Callable[[int, int], None]
) -> tuple[FloatArray, FloatArray]:
    outputs = np.empty((len(texts), 2), np.float32)
    tokens = np.array([text.tokens for text in texts], dtype=np.int64)
    done = 0
    for rows in batches_of_similar_length(tokens, batch_tokens):
        batch = model.pack([texts[row] for row in rows])
        outputs[rows] = model.score(batch).cpu().numpy()  # (B, 2)
        done += len(rows)
        progress(done, len(texts))
    return outputs[:, 0], outputs[:, 1]
