"""The model registry: publishing, promoting, loading, and damaged files."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model.errors import ModelCorrupt, ModelIncompatible, ModelMissing, PromotionConflict
from model.loading import joint
from model.manifest import Manifest
from model.registry import ModelRegistry


@pytest.fixture(params=["local", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> ModelRegistry:
    """A registry on a local disk, and one on another fsspec file system."""
    address = tmp_path / "registry" if request.param == "local" else f"memory://{tmp_path.name}/registry"
    return ModelRegistry(address, now_ms=lambda: 1_000)


def manifest(version: str = "v1") -> Manifest:
    return Manifest(version, base="tiny", created_at_ms=5, data={"ranges": []}, metrics={"auc": 0.7})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files in place of a checkpoint, for tests that do not load it."""
    path = tmp_path / "some"
    (path / "deep").mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "deep" / "file.txt").write_text("x")
    return path


def test_a_published_version_can_be_loaded(registry: ModelRegistry, tiny_base: Path) -> None:
    assert registry.publish(tiny_base, manifest()) == "v1"
    model = joint(registry.load("v1", device=torch.device("cpu")))
    assert model.version == "v1"
    assert model.score_texts([model.probe]).shape == (1, 2)
    assert registry.versions() == ["v1"]
    assert registry.manifest("v1").metrics == {"auc": 0.7}
    assert "heads.safetensors" in registry.manifest("v1").files


def test_the_highest_promotion_is_the_champion(registry: ModelRegistry, folder: Path) -> None:
    assert registry.champion() is None
    for version in ("v1", "v2"):
        registry.publish(folder, manifest(version))
    assert registry.promote("v1") == 1
    assert registry.promote("v2", reason="better") == 2
    assert registry.champion() == "v2"
    assert registry.promote("v1", reason="rolled back") == 3
    assert registry.champion() == "v1"
    assert registry.promotions() == [1, 2, 3]
    assert registry.promotion(2).reason == "better"
    assert registry.promotion(2).promoted_at_ms == 1_000


def test_a_missing_version_cannot_be_promoted_or_loaded(registry: ModelRegistry, folder: Path) -> None:
    registry.publish(folder, manifest())
    with pytest.raises(ModelMissing, match=r"no version 'v9'.*v1"):
        registry.promote("v9")
    with pytest.raises(ModelMissing):
        registry.load("v9")
    assert registry.champion() is None


def test_republishing_is_idempotent_and_other_files_are_refused(
    registry: ModelRegistry, folder: Path
) -> None:
    registry.publish(folder, manifest())
    registry.publish(folder, manifest())
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelCorrupt, match="with other files"):
        registry.publish(folder, manifest())


def test_an_interrupted_publish_is_invisible_and_can_be_repeated(tmp_path: Path, folder: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    half = tmp_path / "registry" / "versions" / "v1"
    half.mkdir(parents=True)
    (half / "config.json").write_text("half a fi")
    assert registry.versions() == []
    registry.publish(folder, manifest())
    registry.fetch("v1", tmp_path / "copy")
    assert (tmp_path / "copy" / "deep" / "file.txt").read_text() == "x"


def test_a_changed_file_is_named_with_both_hashes(tmp_path: Path, tiny_base: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    registry.publish(tiny_base, manifest())
    weights = tmp_path / "registry" / "versions" / "v1" / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(ModelCorrupt, match=r"model\.safetensors has sha256 [0-9a-f]{64}.* [0-9a-f]{64}"):
        registry.load("v1")


def test_a_missing_file_is_named(tmp_path: Path, tiny_base: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    registry.publish(tiny_base, manifest())
    (tmp_path / "registry" / "versions" / "v1" / "sway.json").unlink()
    with pytest.raises(ModelCorrupt, match=r"missing files \['sway\.json'\]"):
        registry.load("v1")


def test_a_file_outside_the_folder_is_refused(tmp_path: Path, folder: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    registry.publish(folder, manifest())
    path = tmp_path / "registry" / "versions" / "v1" / "manifest.json"
    raw = json.loads(path.read_text())
    raw["files"]["../../x"] = "0" * 64
    path.write_text(json.dumps(raw))
    with pytest.raises(ModelIncompatible, match="points outside its folder"):
        registry.load("v1")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1, "surprise": 2}'])
def test_a_broken_manifest_is_corrupt(tmp_path: Path, folder: Path, content: str) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    registry.publish(folder, manifest())
    (tmp_path / "registry" / "versions" / "v1" / "manifest.json").write_text(content)
    with pytest.raises(ModelCorrupt):
        registry.load("v1")


def test_a_manifest_of_another_format_is_incompatible(tmp_path: Path, folder: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    registry.publish(folder, manifest())
    (tmp_path / "registry" / "versions" / "v1" / "manifest.json").write_text('{"format": 2}')
    with pytest.raises(ModelIncompatible, match="format 2"):
        registry.load("v1")


def test_a_torn_promotion_is_corrupt(tmp_path: Path, folder: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    registry.publish(folder, manifest())
    registry.promote("v1")
    (tmp_path / "registry" / "promotions" / "000002.json").write_text('{"vers')
    with pytest.raises(ModelCorrupt, match=r"000002\.json"):
        registry.champion()


def test_concurrent_promotions_get_distinct_numbers(tmp_path: Path, folder: Path) -> None:
    ModelRegistry(tmp_path / "registry").publish(folder, manifest())
    numbers: list[int] = []
    together = threading.Barrier(4)

    def promote() -> None:
        registry = ModelRegistry(tmp_path / "registry")
        together.wait(10)
        numbers.append(registry.promote("v1"))

    threads = [threading.Thread(target=promote) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(numbers) == [1, 2, 3, 4]
    assert ModelRegistry(tmp_path / "registry").promotions() == [1, 2, 3, 4]


@pytest.fixture(params=[0o022, 0o077, 0o027], ids=["022", "077", "027"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_written_files_have_the_permissions_of_the_umask(umask: int, tmp_path: Path, folder: Path) -> None:
    # The permissions of the source files do not matter.
    (folder / "config.json").chmod(0o600)
    registry = ModelRegistry(tmp_path / "registry")
    registry.publish(folder, manifest("v1"))
    registry.attach("v1", folder)
    registry.promote("v1")
    registry.reject("v2", "its training failed")
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "registry").rglob("*")}
    files = {path.name for path in modes if path.is_file()}
    assert files >= {"manifest.json", "config.json", "contents.json", "000001.json", "v2.json"}
    wanted = {path: (0o777 if path.is_dir() else 0o666) & ~umask for path in modes}
    assert modes == wanted


def test_a_promotion_number_always_taken_is_an_error(
    registry: ModelRegistry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.publish(folder, manifest())
    registry.promote("v1")
    monkeypatch.setattr(registry, "promotions", lambda: [0])  # as a stale listing would say
    with pytest.raises(PromotionConflict):
        registry.promote("v1")
    monkeypatch.undo()
    assert registry.promotions() == [1]


@pytest.mark.parametrize("version", ["", "../up", "a/b", ".hidden", "x" * 81, "with space"])
def test_a_version_is_a_plain_name(version: str) -> None:
    with pytest.raises(ValueError, match="version"):
        manifest(version)
