"""Pruning: which versions are kept, and which files of the others are removed."""

import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model.errors import ModelMissing, PromotionConflict
from model.manifest import Manifest
from model.promotions import Promotion
from model.pruning import VersionAge, reasons_to_keep, removable
from model.registry import ModelRegistry
from model.removal import Removal
from model.scratch import model_scratch, remove_stale_scratch

DAY_MS = 86_400_000
NOW_MS = 100 * DAY_MS


def age(version: str, *, day: int, parent: str | None = None) -> VersionAge:
    return VersionAge(version, day * DAY_MS, parent)


def promoted(*versions: str, day: int = 10) -> list[tuple[int, Promotion]]:
    """Return promotions of these versions, a day apart."""
    return [(n, Promotion(name, (day + n) * DAY_MS)) for n, name in enumerate(versions, 1)]


def kept(
    versions: list[VersionAge],
    promotions: list[tuple[int, Promotion]],
    *,
    keep: int = 1,
    pinned: tuple[str, ...] = (),
    grace_ms: int = DAY_MS,
) -> dict[str, str]:
    return reasons_to_keep(versions, promotions, pinned, keep=keep, in_use_since_ms=NOW_MS - grace_ms)


ELEVEN = [age(f"v{day}", day=day, parent=f"v{day - 1}") for day in range(1, 12)]


def test_the_newest_are_kept_and_the_oldest_removed_first() -> None:
    assert kept(ELEVEN, [], keep=3) == {"v11": "newest", "v10": "newest", "v9": "newest"}
    assert removable(ELEVEN, kept(ELEVEN, [], keep=3)) == [f"v{day}" for day in range(1, 9)]


def test_the_champion_its_parent_and_rollback_target_are_kept() -> None:
    assert kept(ELEVEN, promoted("v1", "v3", "v6")) == {
        "v11": "newest",
        "v6": "champion",
        "v5": "parent of the champion",
        "v3": "rollback target",
    }


def test_a_rollback_makes_an_earlier_champion_the_rollback_target() -> None:
    promotions = [*promoted("v1", "v3", "v6"), (4, Promotion("v3", 20 * DAY_MS, back_to=2))]
    reasons = kept(ELEVEN, promotions)
    assert reasons["v3"] == "champion"
    assert reasons["v1"] == "rollback target"
    assert "v6" not in reasons


def test_pinned_versions_are_kept_and_missing_ones_ignored() -> None:
    assert kept(ELEVEN, promoted("gone", "v11"), pinned=("v2", "never")) == {
        "v11": "champion",
        "v10": "parent of the champion",
        "v2": "pinned",
    }


def test_a_recent_champion_is_kept_during_the_grace_period() -> None:
    versions = [*ELEVEN, age("new", day=99), age("newer", day=100)]
    reasons = kept(
        versions, [(1, Promotion("v1", 0)), (2, Promotion("v2", DAY_MS)), (3, Promotion("new", NOW_MS))]
    )
    assert reasons["v2"] == "rollback target"
    assert "v1" not in reasons
    late = [(1, Promotion("v1", 0)), (2, Promotion("v2", NOW_MS - 1)), (3, Promotion("new", NOW_MS))]
    assert kept(versions, late)["v1"] == "recent"


def test_a_version_awaiting_its_verdict_is_recent() -> None:
    assert kept([*ELEVEN, age("new", day=99), age("newer", day=100)], [])["new"] == "recent"


# --- files ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["local", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> ModelRegistry:
    """Six versions, on a local disk and on another fsspec file system. v4 is the champion, after v3."""
    address = tmp_path / "registry" if request.param == "local" else f"memory://{tmp_path.name}/registry"
    return make_registry(address, tmp_path / "files")


def make_registry(address: Path | str, folder: Path) -> ModelRegistry:
    made = ModelRegistry(address, now_ms=lambda: 1_000)
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "weights").write_text("w" * 5_000)
    for number in range(1, 7):
        made.publish(folder, Manifest(f"v{number}", base="tiny", created_at_ms=number))
    made.attach("v1", folder)
    made.promote("v3")
    made.promote("v4")
    made.reject("v1", "worse")
    return made


def test_removal_deletes_the_reports_and_keeps_the_verdict(registry: ModelRegistry) -> None:
    removal = Removal(registry)
    assert 10_000 < removal.size_bytes("v1") < 12_000
    removal.remove("v1")
    assert registry.versions() == ["v2", "v3", "v4", "v5", "v6"]
    assert (removal.size_bytes("v1"), registry.reports("v1")) == (0, [])
    assert registry.verdict("v1").reason == "worse"
    with pytest.raises(ModelMissing):
        registry.promote("v1")
    removal.remove("v1")  # as if two processes pruned concurrently


def test_the_champion_is_never_removed(registry: ModelRegistry) -> None:
    with pytest.raises(PromotionConflict, match="v4: it is the champion"):
        Removal(registry).remove("v4")
    assert registry.exists("v4")


def test_promoting_a_concurrently_removed_version_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = make_registry(tmp_path / "registry", tmp_path / "files")
    promotions = registry.promotions

    def removed_meanwhile() -> list[int]:
        monkeypatch.undo()
        Removal(registry).remove("v1")
        return promotions()

    monkeypatch.setattr(registry, "promotions", removed_meanwhile)
    with pytest.raises(ModelMissing, match="promotion 3 names v1, which was removed concurrently"):
        registry.promote("v1")


def test_a_pinned_version_is_kept_until_unpinned(registry: ModelRegistry) -> None:
    registry.pin("v1", "audited")
    registry.pin("v1")
    assert registry.pins() == ["v1"]
    assert Removal(registry).prunable(1)[0] == ["v2", "v5"]
    registry.unpin("v1")
    registry.unpin("v1")
    assert Removal(registry).prunable(1)[0] == ["v1", "v2", "v5"]
    with pytest.raises(ModelMissing):
        registry.pin("v9")


def test_an_interrupted_publish_is_removed_after_the_grace_period(tmp_path: Path) -> None:
    registry = make_registry(tmp_path / "registry", tmp_path / "files")
    staged = tmp_path / "registry" / ".staging" / "1234"
    (staged / "deep").mkdir(parents=True)
    (staged / "deep" / "weights").write_text("w" * 700)
    (tmp_path / "registry" / ".staging" / "5678").write_text("w" * 50)
    half = tmp_path / "registry" / "versions" / "half"
    half.mkdir()
    (half / "weights").write_text("w" * 250)
    assert Removal(registry).remove_incomplete() == 0  # a publish may be under way
    later = Removal(registry, now_s=lambda: time.time() + 90_000)
    assert later.remove_incomplete() == 1_000
    assert not staged.exists()
    assert not half.exists()
    assert len(registry.versions()) == 6


def test_prune_reports_removals_and_a_dry_run_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = make_registry(tmp_path / "registry", tmp_path / "files")
    monkeypatch.setenv("SWAY_MODEL__REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("SWAY_MODEL__VERSION", "v2")
    dry = models("prune", "--keep", "1", "--dry-run")
    assert registry.versions() == ["v1", "v2", "v3", "v4", "v5", "v6"]
    assert "v1  0.0 MB" in dry
    assert dry[-1] == "2 versions would be removed, 0.0 MB; 4 kept"
    output = models("prune", "--keep", "1")
    assert registry.versions() == ["v2", "v3", "v4", "v6"]
    assert output[-1] == "2 versions removed, 0.0 MB; 4 kept"
    assert {"v2  kept: pinned", "v3  kept: rollback target", "v4  kept: champion"} <= set(output)
    assert models("prune", "--keep", "1")[-1].startswith("0 versions removed")


def models(*arguments: str) -> list[str]:
    from sway.cli import app

    ran = CliRunner().invoke(app, ["models", *arguments], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.output.splitlines()


# --- scratch folders -----------------------------------------------------------------------------------------


def _use_scratch(name: str, in_use: "multiprocessing.synchronize.Event") -> None:
    tempfile.tempdir = name
    with model_scratch() as folder:
        (folder / "weights").write_text("w")
        in_use.set()
        time.sleep(600)


def test_only_scratch_folders_of_dead_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    context = multiprocessing.get_context("fork")
    in_use = context.Event()
    process = context.Process(target=_use_scratch, args=(str(tmp_path), in_use))
    process.start()
    try:
        assert in_use.wait(60)
        assert remove_stale_scratch() == 0
        assert len(list(tmp_path.glob("sway-model-*/weights"))) == 1
    finally:
        process.kill()
        process.join()
    with model_scratch() as mine:
        assert remove_stale_scratch() == 0  # a young folder: its lock may be about to be taken
        for folder in tmp_path.iterdir():
            os.utime(folder, (time.time() - 120, time.time() - 120))
        assert remove_stale_scratch() == 1
        assert mine.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_folder_without_lock_is_kept_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / "sway-model-just-made"
    folder.mkdir()
    assert remove_stale_scratch() == 0
    hours_ago = time.time() - 2 * 3_600
    os.utime(folder, (hours_ago, hours_ago))
    assert remove_stale_scratch() == 1
