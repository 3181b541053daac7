"""What a request under way was read as is kept as it was, for its owner alone."""

from pathlib import Path

import pytest

from trainer.dataset import Example
from trainer.kept_examples import Parts, keep, load

PARTS = Parts(
    train=[Example("a", "b", 1.0, None, 1, "ann", "i"), Example("", "b", 0.1, 0.3, 1)],
    valid=[],
    gate=[Example("a ; ü", "b", 0.0, 0.0, -3, "bob", snapshot=b"\x00\xff snapshot")],
)


@pytest.mark.parametrize("parts", [PARTS, Parts([], [], []), Parts([PARTS.train[0]], [], [])])
def test_parts_come_back_as_they_were(tmp_path: Path, parts: Parts) -> None:
    assert load(tmp_path / "work") is None
    keep(tmp_path / "work", parts)
    assert load(tmp_path / "work") == parts
    keep(tmp_path / "work", PARTS)
    assert load(tmp_path / "work") == PARTS


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    keep(tmp_path, PARTS)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_cut_short_holds_nothing(tmp_path: Path) -> None:
    keep(tmp_path, PARTS)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert load(tmp_path) is None
