"""A late model in memory: encoder, text vectors, late network and items of one version.

Scoring a batch takes a pass of the encoder over the texts without a cached vector, cosines on the device, the numeric
features on the CPU, and a pass of the small late network.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import late_checkpoint
from model.behaviour_encoder import BehaviourEncoder
from model.cosines import cosines
from model.device import choose_device, choose_dtype, dtype_name
from model.errors import DeviceError
from model.features.batch import numbers_of_all
from model.features.history import PAST
from model.features.items import ITEM_DIMENSIONS, ItemFacts, ItemMap
from model.features.keys import NO_KEY, text_key
from model.features.snapshot import Snapshot
from model.features.state import NO_ITEM, NO_MEAN, NO_TOTALS
from model.fit import check_fit, pad_id_of, tokenizer_for
from model.jobs import LateText
from model.late import LateInputs
from model.late_batch import LateBatch
from model.late_checkpoint import LateComponents
from model.loaded import WARM_UP_WORDS
from model.network import hidden_size
from model.reading import Reading
from model.text import TextSettings
from model.tokens import BehaviourTokenizer, Piece
from model.vector_table import Lookup, VectorTable

CACHED_VECTORS = 200_000
_FILLED_AT_ONCE = 256
_DAY_MS = 86_400_000


class LateModel:
    """A loaded version. Immutable except for the tokenizer's cache and the cached text vectors.

    lam: the weight of z_hat in the influence. dtype: the encoder's; everything else is float32.
    probe: a known-good behaviour that distinguishes a broken device from a bad text; its vector is never cached.
    network: the encoder. vectors: the cached text vectors.
    """

    reading = Reading.LATE

    def __init__(
        self,
        version: str,
        parts: LateComponents,
        tokenizer: BehaviourTokenizer,
        *,
        device: torch.device | None = None,
        dtype: str = "auto",
        cached_vectors: int = CACHED_VECTORS,
    ) -> None:
        self.version = version
        self.tokenizer = tokenizer
        self.device = device or choose_device()
        torch_dtype = choose_dtype(dtype, self.device)
        self.dtype = dtype_name(torch_dtype)
        self.lam = parts.settings.lam
        config = parts.encoder.encoder.config
        check_fit(version, tokenizer, config)
        self.network = parts.encoder.place(self.device, torch_dtype).eval()
        self._encoder = BehaviourEncoder(self.network, tokenizer, pad_id_of(config))
        self._late = parts.late.to(self.device).eval()
        self._table = parts.table
        self._items = torch.from_numpy(parts.table.vectors).to(self.device)
        self._item_map = None if parts.item_map is None else _Map(parts.item_map, self.device)
        self.vectors = VectorTable(hidden_size(parts.encoder.encoder), cached_vectors, self.device)
        (piece,) = tokenizer.words(WARM_UP_WORDS[:1])
        self.probe = _late_text(piece, (), own_key=NO_KEY)

    @classmethod
    def from_folder(
        cls,
        version: str,
        folder: Path,
        *,
        device: torch.device | None = None,
        dtype: str = "auto",
        cached_pieces: int = 100_000,
        cached_vectors: int = CACHED_VECTORS,
        tokenizer: BehaviourTokenizer | None = None,
    ) -> Self:
        """Read a checkpoint written by model.late_checkpoint.save. tokenizer: see LoadedModel.from_folder."""
        parts = late_checkpoint.load(folder)
        tokenizer = tokenizer_for(folder, parts.settings.text, cached_pieces, tokenizer)
        return cls(version, parts, tokenizer, device=device, dtype=dtype, cached_vectors=cached_vectors)

    @property
    def text(self) -> TextSettings:
        """The text settings that this model was trained with."""
        return self.network.settings.text

    def pack(self, texts: Sequence[LateText], *, multiple: int = 1) -> LateBatch:  # noqa: ARG002 -- rows have no tokens
        """Pack N >= 1 rows."""
        return LateBatch.of(texts, self._table)

    def score(self, batch: LateBatch) -> Tensor:
        """Return y_hat and z_hat, float32 (N, 2), in (0, 1), on the model's device."""
        with torch.inference_mode():
            return self._late.score(*self._inputs(batch))

    def attention(self, batch: LateBatch) -> Tensor:
        """Return attention weights of past behaviours, newest first, float32 (N, H + 1), on the model's device.

        H is the length of the longest past, at most the number of behaviours that the network attends to. The last
        column is the weight of "nothing".
        """
        with torch.inference_mode():
            weights = self._late.attention(*self._inputs(batch))
            if not self._late.settings.history:
                weights = torch.zeros_like(weights)
                weights[:, -1] = 1.0
            return weights

    def _inputs(self, batch: LateBatch) -> tuple[LateInputs, Tensor, Tensor]:
        """Return the network's inputs and the tables of text and item vectors."""
        columns = batch.columns.to(self.device)
        texts = self._text_vectors(batch)
        near = cosines(texts, columns.text, columns.past_text)  # (N, H)
        items, mapped = self._item_vectors(batch, texts)
        numbers = self._numbers(batch, near.cpu().numpy(), mapped)
        kept = self._late.settings.behaviours
        item = columns.item.clone()
        if len(mapped):
            item[batch.unmapped] = torch.arange(len(batch.item_rows), len(items), device=self.device)
        inputs = LateInputs(
            torch.from_numpy(numbers).to(self.device, non_blocking=True),
            columns.text,
            item,
            columns.past_text[:, :kept],
            columns.past_item[:, :kept],
            columns.past[:, :kept],
        )
        return inputs, texts.vectors, items

    def score_texts(self, texts: list[LateText]) -> Tensor:
        """Score a few rows in one pass, without the micro-batcher; return float32 (N, 2) on the CPU."""
        return self.score(self.pack(texts)).cpu()

    def warm_up(self) -> None:
        """Score sample rows, alone and as a batch, so that the first event does not wait for initialisation.

        Raises DeviceError if an output is not finite: such a model must not go into service.
        """
        pieces = self.tokenizer.words(WARM_UP_WORDS)
        rows = [
            _late_text(pieces[0], [pieces[place % len(pieces)] for place in range(behaviours)])
            for behaviours in (0, 1, 3, 8, 20, self._late.settings.behaviours)
        ]
        for batch in ([self.probe], rows[-1:], rows):
            if not torch.isfinite(self.score_texts(batch)).all():
                raise DeviceError(f"model {self.version} returned NaN or infinity for a known-good text")

    def fill_from(
        self, other: "LateModel", *, seconds: float, stop: Callable[[], bool] = lambda: False
    ) -> int:
        """Compute the vectors of the texts that another model used last, newest first; return how many.

        seconds: the time limit, checked between batches, like stop(). Returns 0 if the models do not share a tokenizer.
        """
        if other.tokenizer is not self.tokenizer:
            return 0
        until_s = time.monotonic() + seconds
        cached = other.vectors.newest(self.vectors.capacity)
        done = 0
        while done < len(cached) and time.monotonic() < until_s and not stop():
            part = cached[done : done + _FILLED_AT_ONCE]
            keys = np.array([text.key for text in part], np.uint64)
            with torch.inference_mode():
                for encoded in self._encoder.encode([text.ids for text in part]):
                    ids = [part[place].ids for place in encoded.places]
                    self.vectors.put(keys[encoded.places], ids, encoded.vectors, encoded.norms, oldest=True)
            done += len(part)
        return done

    def _text_vectors(self, batch: LateBatch) -> Lookup:
        """Return the vectors of the batch's distinct texts; compute and cache the missing ones."""
        found = self.vectors.find(batch.keys)
        if not len(found.missing):
            return found
        ids = _ids_of(batch, found.missing)
        keys = batch.keys[found.missing]
        for encoded in self._encoder.encode(ids):
            places = torch.from_numpy(found.missing[encoded.places]).to(self.device)
            found.vectors[places], found.norms[places] = encoded.vectors, encoded.norms
            named = [ids[place] for place in encoded.places]
            self.vectors.put(keys[encoded.places], named, encoded.vectors, encoded.norms)
        return found

    def _item_vectors(self, batch: LateBatch, texts: Lookup) -> tuple[Tensor, NDArray[np.float32]]:
        """Return the batch's item vectors, (V + n, 32), and the map's output for the n unmapped items, (n, 33)."""
        rows = torch.from_numpy(batch.item_rows).to(self.device)
        # Index -1 selects the last row, of unknown items.
        items = self._items[rows]
        if self._item_map is None or not len(batch.unmapped):
            return items, np.zeros((0, ITEM_DIMENSIONS + 1), np.float32)
        of = batch.columns.text[batch.unmapped].to(self.device)
        mapped = self._item_map.facts(texts.vectors[of])  # (n, 33)
        return torch.cat([items, mapped[:, :ITEM_DIMENSIONS]]), mapped.cpu().numpy()

    def _numbers(
        self, batch: LateBatch, near: NDArray[np.float32], mapped: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the features, float32 (N, F). near: cosines (N, H), newest first. mapped: (n, 33)."""
        facts = [
            self._table.facts_of_row(row) for row in batch.item_rows[batch.columns.item.numpy()].tolist()
        ]
        for row, values in zip(batch.unmapped.tolist(), mapped, strict=False):
            facts[row] = ItemFacts(values[:ITEM_DIMENSIONS], float(values[ITEM_DIMENSIONS]), 0.0)
        present = batch.columns.past_text.numpy()[:, ::-1] >= 0
        snapshots = [text.snapshot for text in batch.texts]
        return numbers_of_all(snapshots, batch.pasts, near[:, ::-1][present], facts, self._table)


class _Map:
    """An ItemMap on a device."""

    def __init__(self, of: ItemMap, device: torch.device) -> None:
        self._weights, self._x_mean, self._t_mean = (
            torch.from_numpy(np.ascontiguousarray(part)).to(device)
            for part in (of.weights, of.x_mean, of.t_mean)
        )

    def facts(self, vectors: Tensor) -> Tensor:
        """Return item vectors and biases, float32 (n, 33), for text vectors (n, d)."""
        return (vectors - self._x_mean) @ self._weights + self._t_mean


def _ids_of(batch: LateBatch, missing: NDArray[np.int64]) -> list[bytes]:
    """Return token ids of the texts at these indices of batch.keys; pieces() is called at most once per row."""
    count = len(batch)
    first = batch.first[missing]
    ends = np.cumsum(batch.pasts.lengths)
    rows = np.searchsorted(ends, first - count, side="right")  # valid for texts that occur in a past
    starts = (ends - batch.pasts.lengths).tolist()
    pasts: dict[int, Sequence[Piece]] = {}
    ids = []
    for place, row in zip(first.tolist(), rows.tolist(), strict=True):
        if place < count:
            ids.append(batch.texts[place].piece.ids)
            continue
        if row not in pasts:
            pasts[row] = batch.texts[row].pieces()
        ids.append(pasts[row][place - count - starts[row]].ids)
    return ids


def _late_text(piece: Piece, past: Sequence[Piece], own_key: int | None = None) -> LateText:
    """Return a row of an unknown item whose past behaviours are a day apart, with every other outcome known."""
    records = np.zeros(len(past), PAST)
    records["at_ms"] = np.arange(len(past)) * _DAY_MS
    records["text"] = [text_key(each.text) for each in past]
    for name in ("y", "z", "residual"):
        records[name] = np.where(np.arange(len(past)) % 2, 0.5, np.nan)
    key = text_key(piece.text) if own_key is None else own_key
    at_ms = len(past) * _DAY_MS
    snapshot = Snapshot(at_ms, NO_KEY, key, NO_ITEM, NO_MEAN.value, NO_TOTALS, records)
    return LateText(snapshot, piece, lambda: past, truncated=False)
