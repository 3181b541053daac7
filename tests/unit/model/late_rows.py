"""Rows for the tests of late models, and access to an encoder's embeddings."""

import numpy as np
from torch import Tensor

from model.jobs import LateText
from model.network import TwoHeadedNetwork
from model.tokens import BehaviourTokenizer, Piece
from tests.support.late import late_text

TEXTS = [f"watch film {number} drama" for number in range(12)]
ITEMS = ("a", "b", "c", "unknown", "")


def embeddings(network: TwoHeadedNetwork) -> Tensor:
    """Return an encoder's word embeddings, for changes in place."""
    return network.encoder.get_parameter("embeddings.word_embeddings.weight")


def some_rows(tokenizer: BehaviourTokenizer, count: int, seed: int = 0, longest: int = 7) -> list[LateText]:
    """Return rows with histories of different lengths over a dozen texts and a few items."""
    random = np.random.default_rng(seed)
    pieces = tokenizer.words(TEXTS)

    def behaviour() -> tuple[Piece, str, float | None]:
        grade = None if random.random() < 0.3 else float(random.integers(5)) / 4
        return pieces[random.integers(len(pieces))], ITEMS[random.integers(len(ITEMS))], grade

    rows = []
    for _ in range(count):
        piece, item, _ = behaviour()
        rows.append(late_text(piece, item, [behaviour() for _ in range(random.integers(longest + 1))]))
    return rows
