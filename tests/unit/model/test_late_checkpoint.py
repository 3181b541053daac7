"""Late checkpoints: a loaded model scores like the saved one, and invalid contents are refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from model import checkpoint, late, late_checkpoint
from model.errors import ModelIncompatible
from model.late_model import LateModel
from model.loaded import LoadedModel
from model.loading import joint, load_model
from model.network import NetworkSettings, Pooling
from model.reading import Reading
from model.registry import ModelRegistry
from model.tokens import BehaviourTokenizer
from tests.support import tiny
from tests.support.late import late_model, late_parts, late_text, publish_late

CPU = torch.device("cpu")


@pytest.fixture
def saved(tiny_base: Path, tmp_path: Path) -> Path:
    """A folder with a late checkpoint."""
    parts = late_parts(tiny_base)
    late_checkpoint.save(tmp_path / "saved", *parts, parts.settings, tokenizer_from=tiny_base)
    return tmp_path / "saved"


def change_settings(folder: Path, **changed: object) -> None:
    path = folder / checkpoint.SETTINGS_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def change_items(folder: Path, **changed: np.ndarray) -> None:
    path = folder / late_checkpoint.ITEMS_FILE
    arrays = load_file(path)
    path.unlink()
    save_file(arrays | changed, path)


def test_a_loaded_checkpoint_scores_like_the_saved_model(
    saved: Path, tiny_base: Path, tokenizer: BehaviourTokenizer
) -> None:
    pieces = tokenizer.words(["watch heat 1995", "watch alien 1979"])
    rows = [late_text(pieces[0], "a", [(pieces[1], "b", 1.0)]), late_text(pieces[1], "new")]
    before = late_model(tiny_base, tokenizer)
    model = load_model("v1", saved, device=CPU, dtype="fp32", cached_vectors=7)
    assert isinstance(model, LateModel)
    assert torch.equal(model.score_texts(rows), before.score_texts(rows))
    assert (model.version, model.lam, model.vectors.capacity) == ("v1", 0.25, 7)
    assert model.tokenizer.matches(tiny_base, model.text)


def test_the_given_settings_are_saved(tiny_base: Path, tmp_path: Path) -> None:
    given = NetworkSettings(pooling=Pooling.MEAN, lam=0.75)
    late_checkpoint.save(tmp_path, *late_parts(tiny_base), given, tokenizer_from=tiny_base)
    assert late_checkpoint.load(tmp_path).settings == given
    raw = json.loads((tmp_path / "sway.json").read_text())
    assert (raw["format"], raw["reading"], raw["pooling"], raw["lam"]) == (2, "late", "mean", 0.75)
    assert not (tmp_path / checkpoint.HEADS_FILE).exists()


def test_a_checkpoint_may_have_no_item_map(tiny_base: Path, tmp_path: Path) -> None:
    parts = late_parts(tiny_base)._replace(item_map=None)
    late_checkpoint.save(tmp_path, *parts, parts.settings, tokenizer_from=tiny_base)
    assert late_checkpoint.load(tmp_path).item_map is None


def test_a_loaded_checkpoint_does_not_depend_on_its_files(saved: Path) -> None:
    parts = late_checkpoint.load(saved)
    before = {name: value.clone() for name, value in parts.encoder.state_dict().items()}
    before |= {name: value.clone() for name, value in parts.late.state_dict().items()}
    vectors = parts.table.vectors.copy()
    for path in saved.glob("*.safetensors"):
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.write(b"\0" * len(content))
    after = dict(parts.encoder.state_dict()) | dict(parts.late.state_dict())
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert np.array_equal(parts.table.vectors, vectors)


def test_each_reading_refuses_the_others_checkpoints(saved: Path, tiny_base: Path) -> None:
    assert (checkpoint.reading_of(saved), checkpoint.reading_of(tiny_base)) == (Reading.LATE, Reading.JOINT)
    with pytest.raises(ModelIncompatible, match="has the late reading"):
        checkpoint.load(saved)
    with pytest.raises(ModelIncompatible, match="has the joint reading"):
        late_checkpoint.load(tiny_base)


def test_an_older_worker_refuses_the_format(saved: Path) -> None:
    raw = json.loads((saved / "sway.json").read_text())
    assert raw["format"] != 1  # the only field that an older worker checks


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 3}, "the format is 3; this version reads formats 1 and 2"),
        ({"format": [2]}, "not the settings"),
        ({"reading": "joint"}, "found another"),
        ({"pooling": "sum"}, "not the settings"),
        ({"surprise": 1}, "not the settings"),
        ({"lam": -1}, "not the settings"),
    ],
)
def test_unknown_settings_are_refused(saved: Path, changed: dict[str, object], message: str) -> None:
    change_settings(saved, **changed)
    with pytest.raises(ModelIncompatible, match=message):
        load_model("v", saved, device=CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / late.WEIGHTS_FILE).unlink(), "not a checkpoint of a late network"),
        (lambda folder: (folder / late_checkpoint.ITEMS_FILE).write_bytes(b"?"), "not the item file"),
        (lambda folder: (folder / late_checkpoint.ITEMS_FILE).unlink(), "not the item file"),
        (lambda folder: change_items(folder, keys=np.array([3, 2, 1], np.uint64)), "ascending"),
        (lambda folder: change_items(folder, keys=np.array([1, 1, 2], np.uint64)), "ascending"),
        (
            lambda folder: change_items(folder, keys=np.array([1, 2, 3], np.int64)),
            "keys of the items is int64",
        ),
        (
            lambda folder: change_items(folder, bias=np.zeros(3, np.float32)),
            r"bias of the items is float32 \(3,\)",
        ),
        (lambda folder: change_items(folder, vectors=np.zeros((4, 8), np.float32)), "vectors"),
        (lambda folder: change_items(folder, bias=np.full(4, np.nan, np.float32)), "not finite"),
        (lambda folder: change_items(folder, **{"map.t_mean": np.zeros(32, np.float32)}), r"map\.t_mean"),
    ],
)
def test_mismatched_components_are_refused(
    saved: Path, change: Callable[[Path], object], message: str
) -> None:
    change(saved)
    with pytest.raises(ModelIncompatible, match=message):
        late_checkpoint.load(saved)


def test_a_late_network_of_another_width_is_refused(saved: Path) -> None:
    other = late.LateNetwork(late.LateSettings(text_width=16, width=8, heads=2, tower=16))
    late.save(other, saved)
    with pytest.raises(ModelIncompatible, match="vectors of dimension 16, but the encoder's have 32"):
        late_checkpoint.load(saved)


def test_older_settings_of_a_late_network_are_read(saved: Path) -> None:
    path = saved / late.SETTINGS_FILE
    raw = json.loads(path.read_text())
    del raw["behaviours"]
    path.write_text(json.dumps(raw))
    assert late.load(saved).settings.behaviours == 50


def test_the_registry_loads_either_reading(tiny_base: Path, tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    tiny.publish_tiny(registry, "one", tiny_base, tmp_path / "one", seed=1)
    publish_late(registry, "two", tiny_base, tmp_path / "two")
    first = registry.load("one", device=CPU, dtype="fp32", cached_vectors=5)
    second = registry.load("two", device=CPU, dtype="fp32", cached_vectors=5, tokenizer=first.tokenizer)
    assert isinstance(first, LoadedModel)
    assert isinstance(second, LateModel)
    assert second.tokenizer is first.tokenizer
    assert joint(first) is first
    with pytest.raises(ModelIncompatible, match="model two has the late reading"):
        joint(second)
