"""A model's predictions for examples, and how long it takes for a text. Thin: the model's own forward pass.

Source: DESIGN section 8.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from model.batches import batches_of_similar_length, to_tensors
from model.loaded import LoadedModel
from model.tokens import EncodedText
from trainer.dataset import Example

FloatArray = NDArray[np.float32]

BATCH_TOKENS = 4096
_TIMED_TEXTS = 48
_TIMED_PASSES = 9


def score_examples(
    model: LoadedModel,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> tuple[FloatArray, FloatArray]:
    """Return y_hat and z_hat, float32 (N,) each, in the examples' order; they may be NaN.

    Texts of similar length share a batch of at most batch_tokens after padding. progress: called with how many are
    done, and of how many.
    """
    return _score(model, _encode(model, examples), batch_tokens, progress)


def measure_ms_per_text(model: LoadedModel, examples: Sequence[Example]) -> float:
    """Return how many milliseconds a text takes; see measure_in_turns."""
    return measure_in_turns([model], examples)[0]


def measure_in_turns(models: Sequence[LoadedModel], examples: Sequence[Example]) -> list[float]:
    """Return how many milliseconds a text takes each model: the forward passes in batches, tokens given.

    The models take turns on the same sample of the examples, spread over all of them, and the fastest of their passes
    counts: what else the machine does can only make one slower. Raises ValueError without examples.
    """
    if not examples:
        raise ValueError("no examples to time a model with")
    step = max(1, len(examples) // _TIMED_TEXTS)
    sample = examples[::step][:_TIMED_TEXTS]
    texts = [_encode(model, sample) for model in models]
    took: list[list[float]] = [[] for _ in models]
    for again in range(_TIMED_PASSES + 1):
        for index, model in enumerate(models):
            began_s = time.perf_counter()
            _score(model, texts[index], BATCH_TOKENS, lambda _done, _of: None)
            if again:  # the first pass warms up
                took[index].append((time.perf_counter() - began_s) * 1000 / len(sample))
    return [min(times) for times in took]


def _encode(model: LoadedModel, examples: Sequence[Example]) -> list[EncodedText]:
    return model.tokenizer.encode_texts([(example.history, example.target) for example in examples])


def _score(
    model: LoadedModel, texts: Sequence[EncodedText], batch_tokens: int, progress: Callable[[int, int], None]
) -> tuple[FloatArray, FloatArray]:
    outputs = np.empty((len(texts), 2), np.float32)
    tokens = np.array([text.tokens for text in texts], dtype=np.int64)
    done = 0
    for rows in batches_of_similar_length(tokens, batch_tokens):
        batch = to_tensors([texts[row] for row in rows], pad_id=model.pad_id)
        outputs[rows] = model.score(batch).cpu().numpy()  # (B, 2)
        done += len(rows)
        progress(done, len(texts))
    return outputs[:, 0], outputs[:, 1]
