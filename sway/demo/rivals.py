"""Models that the demo's scores are compared with: the joint reading, and trees on exact counts.

Both use the same events and the same information as the worker: all earlier outcomes of the user, and of the item in
the partition.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray

from model import checkpoint
from model.device import choose_device
from model.features.names import Group, columns
from model.features.snapshot import Snapshot, numbers_of
from model.network import NetworkSettings
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent, Outcome
from sway.base_model import minilm_dir
from sway.demo.first_model import MAX_TOKENS, partition_of
from trainer.dataset import Example, label_in_order, labels
from trainer.heads import choose_penalty, fit_heads
from trainer.layers import pooled_features

JOINT_TEXTS = 1_500
"""The number of newest whole texts that the joint reading's heads are fitted on, at 13 ms of CPU each."""

JOINT = f"joint reading, heads fitted on {JOINT_TEXTS:,} texts"
TREES = "LightGBM on exact counts"

_COUNTS = columns(Group.ITEM, Group.WINDOW, Group.TIME)
_HELD_OUT = 0.2
_ROUNDS, _PATIENCE = 1_000, 50
_TREES = {
    "objective": "binary",
    "learning_rate": 0.03,
    "min_child_samples": 60,
    "feature_fraction": 0.7,
    "lambda_l2": 5.0,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
    "num_threads": 1,
    "seed": 0,
}


@dataclass(frozen=True, slots=True)
class Rival:
    """Predictions of a model. y_hat: by event id. cpu_s: seconds of CPU per prediction."""

    y_hat: Mapping[str, float]
    cpu_s: float


def rivals(
    pairs: Sequence[tuple[BehaviorEvent, Outcome]], trained_on: int, judged: Sequence[str]
) -> dict[str, Rival]:
    """Return JOINT and, where LightGBM is installed, TREES, by name.

    pairs: all events ordered by time, each with its outcome. trained_on: the number of oldest events to train on.
    judged: the ids of the events to predict.
    """
    tokenizer = BehaviourTokenizer.from_folder(minilm_dir(), TextSettings(max_tokens=MAX_TOKENS))
    examples = list(label_in_order(pairs, tokenizer, partition_of=partition_of))
    wanted = set(judged)
    places = [place for place, (event, _) in enumerate(pairs) if event.event_id in wanted]
    ids = [pairs[place][0].event_id for place in places]
    newest = examples[:trained_on][-JOINT_TEXTS:]
    found = {JOINT: _joint(newest, [examples[place] for place in places], ids, tokenizer)}
    if find_spec("lightgbm") is not None:  # a development dependency
        found[TREES] = _trees(examples, trained_on, places, ids)
    return found


def _joint(
    train: Sequence[Example], judged: Sequence[Example], ids: Sequence[str], tokenizer: BehaviourTokenizer
) -> Rival:
    network = checkpoint.from_base(minilm_dir(), NetworkSettings(text=tokenizer.settings))
    network.place(choose_device(), torch.float32)
    pad_id = int(network.encoder.config.pad_token_id or 0)

    def features(examples: Sequence[Example]) -> NDArray[np.float32]:
        texts = tokenizer.encode_texts([(example.history, example.target) for example in examples])
        return pooled_features(network, texts, pad_id=pad_id)

    fitted, wanted = features(train), labels(train)
    heads = fit_heads(fitted, wanted, choose_penalty(fitted, wanted, held_out=_HELD_OUT)[0])
    began_s = time.process_time()
    y_hat = heads.predict(features(judged))[:, 0]
    return Rival(dict(zip(ids, y_hat.tolist(), strict=True)), (time.process_time() - began_s) / len(ids))


def _trees(examples: Sequence[Example], trained_on: int, places: Sequence[int], ids: Sequence[str]) -> Rival:
    import lightgbm

    def counts(chosen: Sequence[Example]) -> NDArray[np.float32]:
        return np.stack([_counts(example) for example in chosen])

    x, y = counts(examples[:trained_on]), labels(examples[:trained_on])[:, 0]
    held_out = round(trained_on * (1 - _HELD_OUT))
    data = lightgbm.Dataset(x[:held_out].copy(), y[:held_out])
    valid = lightgbm.Dataset(x[held_out:].copy(), y[held_out:], reference=data)
    stopping = lightgbm.early_stopping(_PATIENCE, verbose=False)
    trees = lightgbm.train(_TREES, data, _ROUNDS, valid_sets=[valid], callbacks=[stopping])
    began_s = time.process_time()
    y_hat = np.asarray(trees.predict(counts([examples[place] for place in places]), num_threads=1))
    return Rival(dict(zip(ids, y_hat.tolist(), strict=True)), (time.process_time() - began_s) / len(ids))


def _counts(example: Example) -> NDArray[np.float32]:
    snapshot = Snapshot.decode(example.snapshot or b"")
    found: NDArray[np.float32] = numbers_of(snapshot, np.zeros(len(snapshot.past)))[_COUNTS]
    return found
