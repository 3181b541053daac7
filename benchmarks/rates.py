"""Effect of rates in words on quality: `python -m benchmarks.rates`, about twelve minutes on two cores.

Trains the joint reading on the oldest 10,000 ratings of MovieLens-100K and evaluates it on the next 5,000. All earlier
outcomes are known, and items are counted per partition, with four partitions, as in a worker. It uses one seed, so
differences below .005 are not significant.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from model.loading import joint
from model.metrics import auc, mse
from model.registry import ModelRegistry
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from sway.base_model import minilm_dir
from sway.demo import movielens
from sway.demo.first_model import MAX_TOKENS, PARTITIONS, partition_of
from trainer.dataset import Example, label_in_order
from trainer.evaluation.scoring import score_examples
from trainer.first_model import fit_first_model, joint_config

FITTED_ON, JUDGED_ON = 10_000, 5_000
NEWEST_TEXTS = 4_500  # training texts; takes two cores about two minutes
VARIANTS = {
    "no rates": TextSettings(max_tokens=MAX_TOKENS, habits=False, item_rates=False),
    "the user's": TextSettings(max_tokens=MAX_TOKENS, habits=True, item_rates=False),
    "the user's and the item's": TextSettings(max_tokens=MAX_TOKENS, habits=True, item_rates=True),
}


def main() -> None:
    """Train and evaluate each variant; write build/bench/rates.json."""
    pairs = list(islice(movielens.rated_events(movielens.fetch()), FITTED_ON + JUDGED_ON))
    found = []
    for name, text in VARIANTS.items():
        began_s = time.monotonic()
        tokenizer = BehaviourTokenizer.from_folder(minilm_dir(), text)
        examples = list(label_in_order(pairs, tokenizer, partition_of=partition_of))
        found.append({"rates": name, **judge(examples, text), "seconds": time.monotonic() - began_s})
        sys.stdout.write(json.dumps(found[-1]) + "\n")
        sys.stdout.flush()
    out = Path("build/bench/rates.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"partitions": PARTITIONS, "rows": found}, indent=2) + "\n", encoding="utf-8")


def judge(examples: Sequence[Example], text: TextSettings) -> dict[str, float]:
    """Train on the oldest examples and score the newest; return AUC and MSE of y_hat."""
    config = joint_config(text, NEWEST_TEXTS)
    with tempfile.TemporaryDirectory(prefix="sway-rates-") as scratch:
        registry = ModelRegistry(scratch)
        version = fit_first_model(examples[:FITTED_ON], minilm_dir(), registry, config=config)
        model = joint(registry.load(version))
        newest = examples[FITTED_ON:]
        y_hat, _ = score_examples(model, newest)
    y = np.array([example.y for example in newest])
    return {"auc": auc(y_hat, y >= 0.5), "mse": mse(y_hat, y)}


if __name__ == "__main__":
    main()
