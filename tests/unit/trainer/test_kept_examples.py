"""The examples of a request in progress are kept unchanged, readable only by their owner."""

from pathlib import Path

import pytest

from trainer.dataset import Example
from trainer.kept_examples import Split, load, save

SPLIT = Split(
    train=[Example("a", "b", 1.0, None, 1, "ann", "i"), Example("", "b", 0.1, 0.3, 1)],
    valid=[],
    gate=[Example("a ; ü", "b", 0.0, 0.0, -3, "bob", snapshot=b"\x00\xff snapshot")],
)


@pytest.mark.parametrize("split", [SPLIT, Split([], [], []), Split([SPLIT.train[0]], [], [])])
def test_a_split_is_loaded_unchanged(tmp_path: Path, split: Split) -> None:
    assert load(tmp_path / "work") is None
    save(tmp_path / "work", split)
    assert load(tmp_path / "work") == split
    save(tmp_path / "work", SPLIT)
    assert load(tmp_path / "work") == SPLIT


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    save(tmp_path, SPLIT)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_truncated_file_is_ignored(tmp_path: Path) -> None:
    save(tmp_path, SPLIT)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert load(tmp_path) is None
