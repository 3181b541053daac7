"""Promotions by the demo's trainer, without Kafka: `python -m benchmarks.promotions [SEED ...]`, by default 0 to 4.

Uses the demo's champion and its ratings in the order of a feeder whose users wait for their scores. The seed determines
that order and the training. Requests with the demo's number of examples go through the trainer's RequestHandler:
training, gate and promotion. The gate ignores the speed of a version. Prints each verdict.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.registry import ModelRegistry
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from schemas.records import OffsetRange, TrainingRequest
from sway.base_model import minilm_dir
from sway.demo import movielens
from sway.demo import run as demo
from sway.demo.first_model import MAX_TOKENS, copy_version, default_registry, fit_or_find, partition_of
from trainer.config import TrainingConfig
from trainer.dataset import Example, label_in_order
from trainer.gate import GateSettings
from trainer.request import PROMOTED, RequestConfig, RequestHandler

_EVENTS = 12_000
_IN_FLIGHT = 32
_LOOK_AHEAD = 3_000
_GATE = GateSettings(
    confidence=demo._GATE_CONFIDENCE,
    min_users=demo._GATE_MIN_USERS,
    min_examples=round(demo._HANDOVER_EXAMPLES * demo._GATE_SHARE * 0.8),
    max_slowdown=None,
)


def main() -> None:
    """Print each verdict, and the number of seeds with a promotion."""
    seeds = [int(seed) for seed in sys.argv[1:]] or list(range(5))
    pairs = list(movielens.rated_events(movielens.fetch(), limit=demo.TRAINED_ON + _EVENTS))
    registry = default_registry()
    version = fit_or_find(pairs[: demo.TRAINED_ON], registry, lambda _progress: None)
    promoted = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="sway-promotions-") as scratch:
            own = ModelRegistry(copy_version(registry, version, Path(scratch) / "registry"))
            promoted += _promotions(own, Path(scratch) / "work", _examples(pairs, seed), seed) > 0
    sys.stdout.write(f"promoted in {promoted} of {len(seeds)} seeds\n")


def _promotions(registry: ModelRegistry, work: Path, examples: Sequence[Example], seed: int) -> int:
    def read(ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        (part,) = ranges
        return list(examples[part.start : part.end]), list(examples[max(0, part.start - older) : part.start])

    training = TrainingConfig(threads=1, seed=seed, tensorboard=False)
    config = RequestConfig(work, training, _GATE, valid_share=0.0, gate_share=demo._GATE_SHARE)
    handler = RequestHandler(registry, read, lambda *_reported: None, config)
    promoted, size = 0, demo._HANDOVER_EXAMPLES
    for start in range(0, len(examples) - size + 1, size):
        request = TrainingRequest(f"{seed}-{start}", [OffsetRange("e", 0, start, start + size)], size, 0)
        decision = handler.handle(request)
        promoted += decision.event == PROMOTED
        sys.stdout.write(f"seed {seed}, {start + size:,} labels: {decision.reason}\n")
        sys.stdout.flush()
    return promoted


def _examples(pairs: Sequence[movielens.Pair], seed: int) -> list[Example]:
    """Return examples as a worker with a late champion writes them, without histories in words."""
    tokenizer = BehaviourTokenizer.from_folder(minilm_dir(), TextSettings(max_tokens=MAX_TOKENS))
    fed = _fed(pairs[demo.TRAINED_ON :], seed)
    return [replace(one, history="") for one in label_in_order(fed, tokenizer, partition_of=partition_of)]


def _fed(pairs: Sequence[movielens.Pair], seed: int) -> list[movielens.Pair]:
    """Return the pairs in sending order. Each round has a random number of different users."""
    random, ahead = np.random.default_rng(seed), list(pairs)
    fed: list[movielens.Pair] = []
    while ahead:
        room, waiting, place = int(random.integers(1, _IN_FLIGHT + 1)), set[str](), 0
        while place < min(len(ahead), _LOOK_AHEAD) and len(waiting) < room:
            if ahead[place][0].user_id in waiting:
                place += 1
            else:
                waiting.add(ahead[place][0].user_id)
                fed.append(ahead.pop(place))
    return fed


if __name__ == "__main__":
    main()
