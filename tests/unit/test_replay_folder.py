"""A machine's folder of a replay: one process at each place, and a name that stays."""

from pathlib import Path

import pytest

from stream.replay.errors import ReplayError
from stream.replay.folder import ReplayFolder


def test_a_place_in_the_folder_is_one_processs(tmp_path: Path) -> None:
    one, other = (ReplayFolder(tmp_path / "again") for _ in "12")
    with one.locked(0):
        with pytest.raises(
            ReplayError, match=r"'again' is already running on this machine with the folder .*--workers"
        ):
            other.locked(0)
        with other.locked(1):  # the next worker's
            pass
    with other.locked(0):  # once it has ended
        pass


@pytest.mark.parametrize("left", [None, ""])
def test_a_machine_has_a_name_of_its_own_and_keeps_it(tmp_path: Path, left: str | None) -> None:
    names = []
    for path in (tmp_path / "a", tmp_path / "b"):
        if left is not None:  # by a crash
            path.mkdir()
            (path / "machine").write_text(left)
        names.append(ReplayFolder(path).machine())
        assert ReplayFolder(path).machine() == names[-1]
    assert names[0] != names[1]
