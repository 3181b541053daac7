"""Training, gate and worker build the same network inputs from the same snapshot of a late model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from model.features.history import PAST
from model.features.keys import item_key, text_key
from model.features.snapshot import Snapshot
from model.features.state import NO_ITEM, NO_TOTALS
from model.jobs import Job, LateText
from model.late import LateInputs
from model.late_checkpoint import LateComponents
from model.late_model import LateModel
from model.network import TwoHeadedNetwork
from model.tokens import BehaviourTokenizer, Piece
from tests.support.late import item_table, late_network
from trainer.config import LateTraining
from trainer.dataset import Example
from trainer.evaluation.scoring import jobs_of
from trainer.feature_rows import RowMaker, RowSettings
from trainer.known_texts import known_texts
from trainer.late_batches import LateRows
from trainer.late_examples import LateExamples
from trainer.late_texts import kept_vectors
from trainer.text_vectors import TextVectors

SCORED = ("watch heat crime", "watch alien", "watch gigli comedy")
UNSCORED = ("watch big", "watch ran war")
EMPTY = ""
ITEMS = ("", "a", "b", "c", "not in the table")
TABLE = item_table(ITEMS[1:4])
LATE = LateTraining(behaviours=4)
HOUR_MS = 3_600_000

PAST_ROWS = st.tuples(
    st.sampled_from([*SCORED, *UNSCORED, EMPTY]),
    st.sampled_from(ITEMS),
    st.none() | st.floats(0, 1, width=32),
)
ROWS = st.tuples(st.sampled_from(SCORED), st.sampled_from(ITEMS), st.lists(PAST_ROWS, max_size=6))


@dataclass(frozen=True)
class Inputs:
    """The network's inputs for N rows with H behaviours, with vectors in place of table rows."""

    numbers: NDArray[np.float32]
    text: NDArray[np.float32]
    item: NDArray[np.float32]
    past_text: NDArray[np.float32]
    past_item: NDArray[np.float32]
    past: NDArray[np.float32]
    there: NDArray[np.bool_]


def looked_up(inputs: LateInputs, texts: Tensor, items: Tensor) -> Inputs:
    """Replace table rows by their vectors."""
    there = inputs.past_text >= 0
    past_text, past_item, past = (
        (of * there[..., None]).numpy()
        for of in (texts[inputs.past_text.clamp(min=0)], items[inputs.past_item], inputs.past)
    )
    return Inputs(
        inputs.numbers.numpy(),
        texts[inputs.text].numpy(),
        items[inputs.item].numpy(),
        past_text,
        past_item,
        past,
        there.numpy(),
    )


class ObservedModel(LateModel):
    """A late model that returns the inputs of its network."""

    def inputs_of(self, jobs: Sequence[Job]) -> Inputs:
        """Return the network's inputs for these jobs."""
        rows = [job for job in jobs if isinstance(job, LateText)]
        with torch.inference_mode():
            return looked_up(*self._inputs(self.pack(rows)))


def of_training(
    examples: Sequence[Example], network: TwoHeadedNetwork, tokenizer: BehaviourTokenizer
) -> Inputs:
    """Return the inputs that a training builds; all rows use the same item table."""
    chosen = LateExamples.of(examples[:-1], examples[-1:], LATE)
    with TemporaryDirectory() as folder:
        texts = TextVectors.of(
            chosen.texts, lambda distinct: kept_vectors(network, distinct, tokenizer, Path(folder), pad_id=0)
        )
    kept = RowSettings(kept=LATE.behaviours, refit_rows=0, unseen_share=0.0)
    maker = RowMaker(texts, kept, start=TABLE, start_until_ms=-1)
    for one in chosen.labelled():
        maker.take(one)
    made = LateRows.of(maker.rows(), texts.vectors)
    return looked_up(made.batch(torch.arange(len(examples))), made.texts, made.items)


def words_of(pieces: Mapping[int, Piece], of: Snapshot) -> list[Piece]:
    return [pieces[key] for key in of.past["text"].tolist()]


def snapshot(text: str, item: str, past: Sequence[tuple[str, str, float | None]], at_ms: int) -> Snapshot:
    records = np.zeros(len(past), PAST)
    for place, (words, of, grade) in enumerate(past):
        known = (np.nan,) * 3 if grade is None else (float(grade > 0.5), grade, grade - 0.5)
        records[place] = (at_ms - (len(past) - place) * HOUR_MS, item_key(of), text_key(words), *known)
    return Snapshot(
        at_ms=at_ms,
        item_key=item_key(item),
        text_key=text_key(text),
        item=NO_ITEM,
        mu=0.5,
        totals=NO_TOTALS,
        past=records,
    )


def padded(array: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    return np.pad(array, [(0, 0), (0, columns - array.shape[1])] + [(0, 0)] * (array.ndim - 2))


def assert_same(one: Inputs, other: Inputs) -> None:
    columns = max(one.there.shape[1], other.there.shape[1])
    for name in ("numbers", "text", "item"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=2e-4, err_msg=name)
    for name in ("past_text", "past_item", "past", "there"):
        mine, theirs = (padded(getattr(of, name), columns) for of in (one, other))
        np.testing.assert_allclose(mine.astype(float), theirs.astype(float), atol=2e-4, err_msg=name)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, min_size=3, max_size=6), st.booleans())
def test_training_gate_and_worker_build_the_same_inputs(
    tiny_network: TwoHeadedNetwork,
    tokenizer: BehaviourTokenizer,
    rows: list[tuple[str, str, list[tuple[str, str, float | None]]]],
    worker_knows: bool,
) -> None:
    """worker_knows: use only texts of the examples, and empty ones, which a worker can encode too."""
    said = {row[0] for row in rows} | {EMPTY}
    if worker_knows:
        rows = [(text, item, [one for one in past if one[0] in said]) for text, item, past in rows]
    taken = [snapshot(*row, 10**12 + place * HOUR_MS) for place, row in enumerate(rows)]
    examples = [
        Example(
            history="",
            target=row[0],
            y=1.0,
            z=None,
            occurred_at=one.at_ms,
            user_id="u",
            item_id=row[1],
            snapshot=one.encode(),
        )
        for row, one in zip(rows, taken, strict=True)
    ]
    trained = of_training(examples, tiny_network, tokenizer)
    parts = LateComponents(tiny_network, late_network(behaviours=LATE.behaviours), TABLE, None)

    def model() -> ObservedModel:
        return ObservedModel(
            "v", parts, tokenizer, device=torch.device("cpu"), dtype="fp32", cached_vectors=50
        )

    gate = model()
    jobs = jobs_of(gate, examples, known_texts(examples))
    assert_same(trained, gate.inputs_of(jobs))
    assert_same(trained, gate.inputs_of(jobs))  # from the cached vectors
    if worker_knows:
        pieces = {
            text_key(text): piece for text, piece in zip(said, tokenizer.words(list(said)), strict=True)
        }
        own = [
            LateText(one, pieces[one.text_key], partial(words_of, pieces, one), truncated=False)
            for one in taken
        ]
        assert_same(trained, model().inputs_of(own))
