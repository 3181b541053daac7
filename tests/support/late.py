"""Late models on the tiny base with random weights in all parts, and rows for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from model import checkpoint, late_checkpoint
from model.features.history import PAST
from model.features.items import ITEM_DIMENSIONS, ItemMap, ItemTable
from model.features.keys import NO_KEY, item_key, text_key
from model.features.snapshot import Snapshot
from model.features.state import ItemState, UserTotals
from model.jobs import LateText
from model.late import LateNetwork, LateSettings
from model.late_checkpoint import LateComponents
from model.late_model import LateModel
from model.manifest import Manifest
from model.network import NetworkSettings
from model.tokens import BehaviourTokenizer, Piece

if TYPE_CHECKING:
    from model.registry import ModelRegistry

WIDTH = 32  # of the tiny base
DAY_MS = 86_400_000


def late_network(seed: int = 0, **settings: object) -> LateNetwork:
    """Return a small network with different scores for any two rows."""
    torch.manual_seed(seed)
    network = LateNetwork(LateSettings(text_width=WIDTH, width=8, heads=2, tower=16, **settings))  # type: ignore[arg-type]
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    for output in (network.output, network.fusion_output):
        # A small deviation keeps scores away from 0 and 1.
        torch.nn.init.normal_(output.weight, std=0.1)
    return network.eval()


def item_table(items: Sequence[str], seed: int = 0) -> ItemTable:
    """Return a table of items with random values."""
    random = np.random.default_rng(seed)
    keys = np.sort(np.array([item_key(item) for item in items], np.uint64))
    columns = [random.normal(size=(len(keys) + 1, *of)).astype(np.float32) * 0.3 for of in ((32,), (), ())]
    for column in columns:
        column[-1] = 0
    return ItemTable(keys, columns[0], columns[1], np.abs(columns[2]))


def item_map(seed: int = 0) -> ItemMap:
    """Return an item map with random weights."""
    random = np.random.default_rng(seed)
    shapes = (WIDTH, ITEM_DIMENSIONS + 1), (WIDTH,), (ITEM_DIMENSIONS + 1,)
    return ItemMap(*(random.normal(size=shape).astype(np.float32) * 0.1 for shape in shapes))


def late_parts(base: Path, items: Sequence[str] = ("a", "b", "c"), seed: int = 0) -> LateComponents:
    """Return all components of a late checkpoint on the tiny base."""
    encoder = checkpoint.from_base(base, NetworkSettings(lam=0.25))
    return LateComponents(encoder, late_network(seed), item_table(items, seed), item_map(seed))


def late_model(
    base: Path,
    tokenizer: BehaviourTokenizer,
    parts: LateComponents | None = None,
    *,
    version: str = "late",
    cached_vectors: int = 1_000,
) -> LateModel:
    """Return a late model on the CPU in fp32."""
    return LateModel(
        version,
        parts or late_parts(base),
        tokenizer,
        device=torch.device("cpu"),
        dtype="fp32",
        cached_vectors=cached_vectors,
    )


def publish_late(registry: "ModelRegistry", version: str, base: Path, folder: Path, *, seed: int = 0) -> str:
    """Publish a late version on the tiny base and return it. folder: an empty folder for the checkpoint."""
    parts = late_parts(base, seed=seed)
    late_checkpoint.save(folder, *parts, parts.settings, tokenizer_from=base)
    return registry.publish(folder, Manifest(version, base="tiny", created_at_ms=0))


def late_text(
    piece: Piece,
    item: str = "",
    past: Sequence[tuple[Piece, str, float | None]] = (),
    *,
    at_ms: int = 100 * DAY_MS,
    asked: list[str] | None = None,
) -> LateText:
    """Return a job for a behaviour of an item.

    past: the words, item and grade of each earlier behaviour, oldest first; a grade of None is not known yet.
    asked: collects the job's text each time the words of its past are requested.
    """
    records = np.zeros(len(past), PAST)
    for place, (words, of, grade) in enumerate(past):
        known = (np.nan,) * 3 if grade is None else (float(grade > 0.5), grade, grade - 0.6)
        at = at_ms - (len(past) - place) * 3_600_000
        records[place] = (at, item_key(of), text_key(words.text), *known)
    grades = [grade for *_, grade in past if grade is not None]
    totals = UserTotals(
        behaviours=len(past),
        outcomes=len(grades),
        y_sum=sum(grades),
        z_sum=sum(grades),
        residual_sum=sum(grades) - 0.6 * len(grades),
    )
    state = (
        ItemState(
            outcomes=3,
            y_sum=2.0,
            z_sum=1.75,
            above_mean=0.1,
            above_user=0.2,
            last_at_ms=at_ms - DAY_MS,
            recent=(0.5, 0.75, 0.5),
        )
        if item
        else ItemState()
    )
    own = text_key(piece.text) if piece.text else NO_KEY
    snapshot = Snapshot(
        at_ms=at_ms, item_key=item_key(item), text_key=own, item=state, mu=0.6, totals=totals, past=records
    )

    def pieces() -> Sequence[Piece]:
        if asked is not None:
            asked.append(piece.text)
        return [words for words, *_ in past]

    return LateText(snapshot, piece, pieces, truncated=False)
