"""The table of text vectors compared with a dictionary: correct lookups, eviction of the least recently used."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.features.keys import NO_KEY
from model.vector_table import VectorTable

KEYS = st.lists(st.integers(1, 30), min_size=1, max_size=12, unique=True)


def vectors_of(keys: list[int]) -> torch.Tensor:
    """Return a distinct vector for each key."""
    return torch.tensor([[float(key), -float(key)] for key in keys])


def put(table: VectorTable, keys: list[int], vectors: torch.Tensor | None = None) -> None:
    made = vectors_of(keys) if vectors is None else vectors
    table.put(np.array(keys, np.uint64), [b"%d" % key for key in keys], made, made.norm(dim=1))


def stored_keys(table: VectorTable) -> set[int]:
    return {kept.key for kept in table.newest(1_000_000)}


@given(st.integers(1, 20), st.lists(KEYS, min_size=1, max_size=30))
def test_lookups_are_correct_and_evict_the_least_recently_used(most: int, batches: list[list[int]]) -> None:
    table = VectorTable(width=2, capacity=most, device=torch.device("cpu"))
    used: dict[int, int] = {}
    for now, keys in enumerate(batches):
        before = stored_keys(table)
        found = table.find(np.array(keys, np.uint64))
        missing = [keys[place] for place in found.missing.tolist()]
        assert set(missing) == set(keys) - before
        there = [place for place, key in enumerate(keys) if key in before]
        assert torch.equal(found.vectors[there], vectors_of([keys[place] for place in there]).reshape(-1, 2))
        torch.testing.assert_close(found.norms[there], found.vectors[there].norm(dim=1))
        used |= dict.fromkeys((keys[place] for place in there), 2 * now)
        if missing:
            put(table, missing)
        used |= dict.fromkeys(missing, 2 * now + 1)
        after = stored_keys(table)
        assert len(after) == len(table) == min(most, len(before | set(missing)))
        gone = (before | set(missing)) - after
        assert max((used[key] for key in gone), default=-1) <= min(used[key] for key in after)
    assert (table.hits, table.misses) == (sum(map(len, batches)) - table.misses, table.misses)


def test_a_full_table_keeps_recently_used_vectors() -> None:
    table = VectorTable(width=2, capacity=10_000, device=torch.device("cpu"))
    put(table, list(range(1, 10_001)))
    table.find(np.array([1, 2, 3], np.uint64))
    put(table, [20_001])
    assert {1, 2, 3, 20_001} <= stored_keys(table)
    assert 9_000 < len(table) < 10_000  # eviction frees several rows at once
    table.find(np.array([4_000], np.uint64))
    assert table.newest(2)[1].ids == b"20001"


def test_memory_grows_with_the_stored_vectors() -> None:
    table = VectorTable(width=8, capacity=1_000_000, device=torch.device("cpu"))
    put_keys = list(range(1, 5_001))
    table.put(np.array(put_keys, np.uint64), [b""] * 5_000, torch.ones(5_000, 8), torch.ones(5_000))
    assert table._vectors.shape == (8_192, 8)
    found = table.find(np.array(put_keys, np.uint64))
    assert not len(found.missing)
    assert torch.equal(found.vectors, torch.ones(5_000, 8))


def test_non_finite_vectors_and_empty_keys_are_not_stored() -> None:
    table = VectorTable(width=2, capacity=10, device=torch.device("cpu"))
    put(table, [NO_KEY, 5, 6], torch.tensor([[1.0, 1], [float("nan"), 1], [float("inf"), 1]]))
    assert len(table) == 0
    put(table, [5])
    assert stored_keys(table) == {5}


def test_a_text_put_twice_is_stored_once() -> None:
    table = VectorTable(width=2, capacity=10, device=torch.device("cpu"))
    put(table, [1, 2])
    put(table, [2, 3])
    assert (len(table), stored_keys(table)) == (3, {1, 2, 3})


def test_a_capacity_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity=0"):
        VectorTable(width=2, capacity=0, device=torch.device("cpu"))


def test_a_table_that_cannot_grow_keeps_its_size(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = VectorTable(width=2, capacity=1_000_000, device=torch.device("cpu"))
    put(table, list(range(1, 4_001)))

    def full() -> None:
        raise torch.OutOfMemoryError("injected: out of memory")

    monkeypatch.setattr(table, "_grow", full)
    put(table, list(range(4_001, 9_001)))
    assert (table.capacity, len(table)) == (4_096, 4_096)
    assert stored_keys(table) == set(range(9_001 - 4_096, 9_001))
    found = table.find(np.array([9_000], np.uint64))
    assert torch.equal(found.vectors, vectors_of([9_000]))
    assert "text vectors" in caplog.text


def test_a_table_without_any_memory_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    table = VectorTable(width=2, capacity=10, device=torch.device("cpu"))

    def full() -> None:
        raise torch.OutOfMemoryError("injected: out of memory")

    monkeypatch.setattr(table, "_grow", full)
    with pytest.raises(torch.OutOfMemoryError):
        put(table, [1])
