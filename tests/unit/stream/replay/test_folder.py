"""The folder of a replay on one machine: one process per place, and a stable machine name."""

from pathlib import Path

import pytest

from stream.replay.errors import ReplayError
from stream.replay.folder import ReplayFolder


def test_a_place_in_the_folder_belongs_to_one_process(tmp_path: Path) -> None:
    one, other = (ReplayFolder(tmp_path / "again") for _ in "12")
    with one.locked(0):
        with pytest.raises(
            ReplayError, match=r"'again' is already running on this machine with the folder .*--workers"
        ):
            other.locked(0)
        # The place of the next worker is free.
        with other.locked(1):
            pass
    # The first process has released its place.
    with other.locked(0):
        pass


@pytest.mark.parametrize("leftover", [None, ""])
def test_each_machine_keeps_a_unique_name(tmp_path: Path, leftover: str | None) -> None:
    names = []
    for path in (tmp_path / "a", tmp_path / "b"):
        # A crash can leave an empty file.
        if leftover is not None:
            path.mkdir()
            (path / "machine").write_text(leftover)
        names.append(ReplayFolder(path).machine())
        assert ReplayFolder(path).machine() == names[-1]
    assert names[0] != names[1]
