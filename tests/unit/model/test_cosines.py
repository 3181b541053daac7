"""Cosines between texts and past behaviours, for few texts and for many, computed either way."""

import numpy as np
import pytest
import torch

from model import cosines as cosines_module
from model.cosines import cosines
from model.vector_table import Lookup


@pytest.mark.parametrize(
    ("texts", "behaviours", "part"), [(3, 4, 1 << 18), (400, 2, 1 << 18), (400, 2, 32), (5, 0, 1)]
)
def test_cosines_match_the_plain_formula(
    texts: int, behaviours: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosines_module, "_PART", part)
    random = np.random.default_rng(0)
    vectors = random.normal(size=(texts, 8)).astype(np.float32)
    vectors[1] = 0
    own, past = random.integers(0, texts, 7), random.integers(0, texts, (7, behaviours))
    past[:3, -1:] = own[:3, None]
    unit = vectors.astype(np.float64) / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found = Lookup(torch.from_numpy(vectors), torch.from_numpy(vectors).norm(dim=1), np.zeros(0, np.int64))
    near = cosines(found, torch.from_numpy(own), torch.from_numpy(past)).numpy()
    assert near.shape == (7, behaviours)
    assert near.dtype == np.float32
    np.testing.assert_allclose(near, (unit[past] * unit[own][:, None]).sum(-1), atol=1e-6)


def test_empty_places_give_finite_cosines() -> None:
    found = Lookup(torch.eye(3), torch.ones(3), np.zeros(0, np.int64))
    near = cosines(found, torch.tensor([1, 2]), torch.tensor([[1, -1], [0, 2]]))
    assert torch.isfinite(near).all()
    assert near[0, 0] == near[1, 1] == 1
