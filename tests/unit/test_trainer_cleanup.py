"""What trainings have left in the work folder is removed when nobody comes back to it."""

import os
import time
from pathlib import Path

import pytest

from model.registry import ModelRegistry
from trainer.cleanup import clean_up, remove_old_work

DAY_S = 86_400.0
V1, V2 = "v-0123456789ab", "v-ba9876543210"


def work(folder: Path, *versions: str) -> Path:
    for version in versions:
        (folder / version / "training").mkdir(parents=True)
        (folder / version / "training" / "weights").write_text("w")
    return folder


def test_settled_trainings_go_and_one_under_way_stays(tmp_path: Path) -> None:
    folder = work(tmp_path / "work", V1, V2)
    assert remove_old_work(folder, lambda version: version == V1) == [V1]
    assert [path.name for path in folder.iterdir()] == [V2]


def test_one_that_was_left_for_long_goes_by_its_newest_file(tmp_path: Path) -> None:
    folder = work(tmp_path / "work", V1, V2)
    now_s = time.time()
    long_ago_s = now_s - 40 * DAY_S
    for path in (*folder.rglob(f"{V1}/**/*"), folder / V1, folder / V2):
        os.utime(path, (long_ago_s, long_ago_s))
    assert remove_old_work(folder, lambda _version: False, now_s=lambda: now_s) == [V1]


def test_a_folder_that_is_no_trainings_is_never_removed(tmp_path: Path) -> None:
    folder = work(tmp_path / "trainer", "evaluation", "v1")
    assert remove_old_work(folder, lambda _version: True, untouched_s=-DAY_S) == []
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation", "v1"]


def test_a_work_folder_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    assert remove_old_work(tmp_path / "work", lambda _version: True) == []


def test_a_trainer_cleans_up_by_the_registrys_verdicts(tmp_path: Path) -> None:
    folder = work(tmp_path / "work", V1, V2, "evaluation")
    registry = ModelRegistry(tmp_path / "registry")
    registry.reject(V1, "worse")
    clean_up(folder, registry)
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation", V2]


def test_a_storage_that_is_away_does_not_end_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise TimeoutError("no answer")

    monkeypatch.setattr(ModelRegistry, "verdict", away)
    clean_up(work(tmp_path / "work", V1), ModelRegistry(tmp_path / "registry"))
    assert "not removed this time: no answer" in caplog.text
    assert (tmp_path / "work" / V1).exists()
