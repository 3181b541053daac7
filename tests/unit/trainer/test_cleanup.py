"""Files of finished and abandoned trainings are removed from the work folder."""

import os
import time
from pathlib import Path

import pytest

from model.registry import ModelRegistry
from trainer.cleanup import clean_up, remove_old_work

DAY_S = 86_400.0
V1, V2 = "v-0123456789ab", "v-ba9876543210"


def work_folder(folder: Path, *versions: str) -> Path:
    for version in versions:
        (folder / version / "training").mkdir(parents=True)
        (folder / version / "training" / "weights").write_text("w")
    return folder


def test_only_finished_trainings_are_removed(tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "work", V1, V2)
    assert remove_old_work(folder, lambda version: version == V1) == [V1]
    assert [path.name for path in folder.iterdir()] == [V2]


def test_an_abandoned_training_is_removed_by_file_age(tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "work", V1, V2)
    now_s = time.time()
    long_ago_s = now_s - 40 * DAY_S
    for path in (*folder.rglob(f"{V1}/**/*"), folder / V1, folder / V2):
        os.utime(path, (long_ago_s, long_ago_s))
    assert remove_old_work(folder, lambda _version: False, now_s=lambda: now_s) == [V1]


def test_other_folders_are_never_removed(tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "trainer", "evaluation", "v1")
    assert remove_old_work(folder, lambda _version: True, untouched_s=-DAY_S) == []
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation", "v1"]


def test_a_missing_work_folder_is_no_error(tmp_path: Path) -> None:
    assert remove_old_work(tmp_path / "work", lambda _version: True) == []


def test_trainings_with_a_verdict_are_removed(tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "work", V1, V2, "evaluation")
    registry = ModelRegistry(tmp_path / "registry")
    registry.reject(V1, "worse")
    clean_up(folder, registry)
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation", V2]


def test_unavailable_storage_does_not_prevent_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unavailable(*_: object) -> None:
        raise TimeoutError("no answer")

    monkeypatch.setattr(ModelRegistry, "verdict", unavailable)
    clean_up(work_folder(tmp_path / "work", V1), ModelRegistry(tmp_path / "registry"))
    assert "not removed this time: no answer" in caplog.text
    assert (tmp_path / "work" / V1).exists()
