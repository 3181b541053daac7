"""Item vectors: similarity of items, rotation between fits, and predictions for unseen items."""

from itertools import combinations
from itertools import product as product_of

import numpy as np
import pytest
from numpy.typing import NDArray

from model.features.items import ITEM_DIMENSIONS, NO_ITEMS, ItemTable
from model.features.keys import NO_KEY, item_key
from trainer.item_vectors import ItemVectors, ItemVectorSettings, merge_older
from trainer.mapped_ridge import Ridge


def taste(items: int = 60, users: int = 300) -> tuple[NDArray[np.float64], dict[int, NDArray[np.float32]]]:
    """Return residuals (users, items) for items of two kinds, and text vectors that reveal the kind."""
    random = np.random.default_rng(0)
    kind = np.arange(items) % 2 * 2 - 1  # -1, 1
    leaning = random.normal(size=users)
    residuals = 0.3 * leaning[:, None] * kind + 0.1 * random.normal(size=(users, items))
    texts = {}
    for item in range(items):
        texts[item_key(f"i{item}")] = np.array([kind[item], *random.normal(size=4) / 5], np.float32)
    texts[item_key("new")] = np.array([1, 0, 0, 0, 0], np.float32)
    return residuals, texts


def fitted(residuals: NDArray[np.float64], texts: dict[int, NDArray[np.float32]]) -> ItemVectors:
    """Return item vectors with all residuals added. The sign of an item's bias is its kind."""
    vectors = ItemVectors(texts)
    for (user, item), residual in np.ndenumerate(residuals):
        vectors.add(
            f"u{user}", item_key(f"i{item}"), residual=float(residual), above_mean=0.2 if item % 2 else -0.2
        )
    return vectors


def product(table: ItemTable, one: str, other: str) -> float:
    """Return the similarity of two items."""
    return float(table.facts(one).vector @ table.facts(other).vector)


def test_items_liked_by_the_same_users_have_similar_vectors() -> None:
    table = fitted(*taste()).fit().table
    pairs = list(combinations(range(10), 2))
    products = {pair: product(table, f"i{pair[0]}", f"i{pair[1]}") for pair in pairs}
    assert min(products[a, b] for a, b in pairs if (a + b) % 2 == 0) > 0.3
    assert max(products[a, b] for a, b in pairs if (a + b) % 2) < -0.3


def test_vectors_rotate_little_between_fits() -> None:
    residuals, texts = taste()
    vectors = fitted(residuals[:200], texts)
    before = vectors.fit().table
    for (user, item), residual in np.ndenumerate(residuals[200:]):
        vectors.add(f"v{user}", item_key(f"i{item}"), residual=float(residual), above_mean=0.0)
    after = vectors.fit().table
    for item in range(10):
        one, other = before.facts(f"i{item}").vector, after.facts(f"i{item}").vector
        assert one @ other > 0.9 * np.linalg.norm(one) * np.linalg.norm(other)


def test_an_item_without_outcomes_is_predicted_from_its_text() -> None:
    table = fitted(*taste()).fit().table
    new = table.facts("new")
    assert new.log_outcomes == 0
    assert new.bias == pytest.approx(0.2, abs=0.03)
    assert product(table, "new", "i1") > 0.2 > -0.2 > product(table, "new", "i0")


def test_the_map_predicts_the_tables_facts_from_a_text() -> None:
    residuals, texts = taste()
    found = fitted(residuals, texts).fit()
    assert found.map is not None
    predicted, tabulated = found.map.facts(texts[item_key("new")]), found.table.facts("new")
    assert predicted.bias == pytest.approx(tabulated.bias, abs=1e-5)
    assert predicted.vector == pytest.approx(tabulated.vector, abs=1e-5)


def test_unseen_facts_of_an_item_come_from_other_items_only() -> None:
    residuals, texts = taste()
    odd = fitted(residuals, texts)
    for user in range(200):
        odd.add(f"w{user}", item_key("odd one"), residual=0.0, above_mean=5.0)
    texts[item_key("odd one")] = np.array([1, 0, 0, 0, 0], np.float32)
    found = odd.fit()
    assert found.table.facts("odd one").bias > 4
    assert found.unseen.facts("odd one").bias < 1
    assert found.unseen.facts("odd one").log_outcomes == 0


def test_without_texts_an_item_without_outcomes_is_unknown() -> None:
    residuals, _ = taste()
    table = fitted(residuals, {}).fit().table
    assert not table.facts("new").vector.any()
    assert table.facts("new").bias == 0
    keys = np.array([item_key("i0"), item_key("new"), NO_KEY], np.uint64)
    found = table.rows_of(keys)
    assert table.keys[found[0]] == keys[0]
    assert found[1:].tolist() == [-1, -1]


def test_without_outcomes_there_is_no_table() -> None:
    assert ItemVectors({item_key("a"): np.ones(3, np.float32)}).fit().table is NO_ITEMS
    assert NO_ITEMS.vectors.shape == (1, ITEM_DIMENSIONS)


def test_items_with_one_user_each_get_finite_vectors() -> None:
    vectors = ItemVectors({})
    for place in range(5):
        vectors.add(f"u{place}", item_key(f"i{place}"), residual=0.5, above_mean=0.5)
        vectors.add(f"u{place}", NO_KEY, residual=0.5, above_mean=0.5)
    assert np.isfinite(vectors.fit().table.vectors).all()


def test_items_without_a_common_user_have_zero_vectors() -> None:
    vectors = ItemVectors({})
    for place in range(40):
        vectors.add(f"u{place}", item_key(f"i{place % 4}"), residual=0.5, above_mean=0.25)
    table = vectors.fit().table
    assert len(table.keys) == 4
    assert not table.vectors.any()
    assert table.facts("i1").bias > 0


def test_equal_outcomes_give_bitwise_equal_vectors() -> None:
    # Ten separate groups of users: W has equal eigenvalues, for which ARPACK draws random numbers.
    def vectors_of_groups() -> bytes:
        vectors = ItemVectors({})
        for person, item in product_of(range(30), range(4)):
            name = f"i{person // 3}-{item}"
            vectors.add(f"u{person}", item_key(name), residual=0.5 if item % 2 else -0.5, above_mean=0.0)
        return vectors.fit().table.vectors.tobytes()

    assert vectors_of_groups() == vectors_of_groups()


def test_repeated_fits_stay_rotated_onto_the_older_table() -> None:
    random = np.random.default_rng(0)
    of_items = random.normal(size=(80, 6))

    def add(vectors: ItemVectors, users: int) -> None:
        for user in range(users):
            likes = of_items @ random.normal(size=6)
            for item in random.permutation(80)[:20]:
                residual = 0.1 * (likes[item] + random.normal())
                vectors.add(f"{users}-{user}", item_key(f"i{item}"), residual=float(residual), above_mean=0.0)

    first = ItemVectors({})
    add(first, 600)
    start = first.fit().table
    vectors = ItemVectors({}, start=start)
    for users in range(8, 38):  # the first fits have little data; each is close to the one before
        add(vectors, users)
        table = vectors.fit().table
    rows = table.rows_of(start.keys)
    old, new = start.vectors[:-1].astype(np.float64), table.vectors[rows].astype(np.float64)
    best = np.linalg.svd(new.T @ old)[1].sum()  # over all rotations
    assert (old * new).sum() > 0.9 * best


def test_only_a_busy_users_newest_outcomes_shape_the_vectors() -> None:
    settings = ItemVectorSettings(most_of_a_user=10, least_outcomes=1)
    one, other = ItemVectors({}, settings), ItemVectors({}, settings)
    for place in range(40):
        for vectors in (one, other):
            old = place < 30 and vectors is other
            vectors.add(
                "u", item_key(f"i{place % 5}"), residual=-0.5 if old and place % 2 else 0.5, above_mean=0.1
            )
    assert one.fit().table.vectors.tobytes() == other.fit().table.vectors.tobytes()


def test_merging_keeps_the_row_with_more_outcomes() -> None:
    def table(names: str, size: float) -> ItemTable:
        keys = np.sort(np.array([item_key(name) for name in names], np.uint64))
        rows = len(names) + 1
        vectors = np.full((rows, ITEM_DIMENSIONS), size, np.float32)
        return ItemTable(keys, vectors, np.full(rows, size, np.float32), np.full(rows, size, np.float32))

    new, old = table("ab", 2), table("bcd", 1)
    assert [merge_older(old, new, 9).facts(name).bias for name in "abcd"] == [2, 2, 1, 1]
    found = merge_older(new, old, 4)
    assert [found.facts(name).bias for name in "abcd"] == [2, 2, 1, 1]
    assert (found.keys[:-1] < found.keys[1:]).all()
    assert found.facts("c").vector.tolist() == [1] * ITEM_DIMENSIONS
    assert len(merge_older(new, old, 3).keys) == 3
    assert merge_older(new, old, 2).keys.tolist() == new.keys.tolist()  # those with most outcomes stay
    assert merge_older(NO_ITEMS, NO_ITEMS, 9).keys.tolist() == []


def test_left_out_predictions_match_a_fit_without_the_row() -> None:
    random = np.random.default_rng(1)
    x, w = random.normal(size=(40, 3)), random.uniform(0.5, 2, 40)
    t = x @ random.normal(size=(3, 2)) + random.normal(size=(40, 2))
    whole = Ridge(x, w, penalties=(0.1,)).fit(t)
    scale = float((w[:, None] / w.mean() * (x - w @ x / w.sum()) ** 2).sum() / 40) * 0.1 * w.mean()
    for row in (0, 17):
        rest = np.arange(40) != row
        share = w[rest] / w[rest].sum()
        x_mean, t_mean = share @ x[rest], share @ t[rest]
        centred = x[rest] - x_mean
        gram = (w[rest, None] * centred).T @ centred + scale * np.eye(3)
        weights = np.linalg.solve(gram, (w[rest, None] * centred).T @ (t[rest] - t_mean))
        np.testing.assert_allclose(whole.left_out[row], (x[row] - x_mean) @ weights + t_mean, atol=1e-9)
