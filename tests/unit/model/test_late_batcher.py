"""Late models in the micro-batcher: batches, cancellation and failures."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.errors import DeviceError, ModelOutputError
from model.features.keys import text_key
from model.forward import ForwardPass
from model.jobs import LATE_TOKENS
from model.late_batch import LateBatch
from model.late_model import LateModel
from model.packing import PackingSettings
from model.scorer import BatchStats, MicroBatcher
from model.tokens import BehaviourTokenizer
from tests.support.late import late_model, late_parts, late_text
from tests.unit.model.late_rows import TEXTS, embeddings, some_rows

PATIENCE_S = 120


@pytest.fixture
def model(tiny_base: Path, tokenizer: BehaviourTokenizer) -> LateModel:
    """A late model with an empty cache."""
    return late_model(tiny_base, tokenizer)


def test_the_micro_batcher_scores_late_rows(model: LateModel, tokenizer: BehaviourTokenizer) -> None:
    rows = some_rows(tokenizer, 40)
    alone = model.score_texts(rows).numpy()
    stats: list[BatchStats] = []
    with MicroBatcher(
        model, PackingSettings(max_batch_tokens=16 * LATE_TOKENS), on_batch=stats.append
    ) as batcher:
        scored = batcher.submit(rows).result(PATIENCE_S)
    np.testing.assert_allclose(np.stack([scored.y_hat, scored.z_hat], 1), alone, atol=1e-5)
    assert [batch.rows for batch in stats] == [16, 16, 8]
    assert [batch.fill for batch in stats] == [1.0, 1.0, 0.5]
    assert {(batch.tokens, batch.padded_tokens) for batch in stats} == {(128, 128), (64, 64)}


class _GatedLateModel(LateModel):
    """Scores only while its gate is open."""

    gate: threading.Event

    def score(self, batch: LateBatch) -> Tensor:
        assert self.gate.wait(PATIENCE_S)
        return super().score(batch)


def test_a_cancelled_groups_rows_are_not_scored(tiny_base: Path, tokenizer: BehaviourTokenizer) -> None:
    model = _GatedLateModel("late", late_parts(tiny_base), tokenizer, device=torch.device("cpu"))
    model.gate = threading.Event()
    pieces = tokenizer.words(TEXTS)
    with MicroBatcher(model, PackingSettings(max_wait_s=0, max_batch_rows=4)) as batcher:
        running = batcher.submit([late_text(pieces[0])] * 4)
        cancelled, kept = (
            batcher.submit([late_text(pieces[1])] * 2),
            batcher.submit([late_text(pieces[2])] * 2),
        )
        assert cancelled.cancel()
        model.gate.set()
        assert not running.result(PATIENCE_S).failed
        assert not kept.result(PATIENCE_S).failed
    assert {kept.key for kept in model.vectors.newest(9)} == {text_key(TEXTS[0]), text_key(TEXTS[2])}


class _CrampedLateModel(LateModel):
    """Has memory for three rows."""

    def score(self, batch: LateBatch) -> Tensor:
        if len(batch) > 3:
            raise torch.OutOfMemoryError("injected: out of memory")
        return super().score(batch)


def test_an_out_of_memory_error_halves_a_batch_of_rows(
    tiny_base: Path, tokenizer: BehaviourTokenizer
) -> None:
    model = _CrampedLateModel("late", late_parts(tiny_base), tokenizer, device=torch.device("cpu"))
    rows = some_rows(tokenizer, 8)
    alone = torch.cat([model.score_texts([row]) for row in rows]).numpy()
    stats: list[BatchStats] = []
    forward = ForwardPass(sleep=lambda _: None)
    with MicroBatcher(model, forward=forward, on_batch=stats.append) as batcher:
        scored = batcher.submit(rows).result(PATIENCE_S)
    assert (scored.failed, stats[0].passes) == ({}, 7)
    np.testing.assert_allclose(scored.y_hat, alone[:, 0], atol=1e-5)


def break_word(model: LateModel, tokenizer: BehaviourTokenizer, word: str) -> None:
    """Make the encoder return NaN for every text with this word."""
    (token,) = np.frombuffer(tokenizer.words([word])[0].ids, np.int32).tolist()
    with torch.no_grad():
        embeddings(model.network)[token] = torch.nan


def test_only_rows_with_a_failing_text_fail(model: LateModel, tokenizer: BehaviourTokenizer) -> None:
    rows = some_rows(tokenizer, 12)
    alone = model.score_texts(rows).numpy()
    break_word(model, tokenizer, "zebra")
    (bad,) = tokenizer.words(["watch zebra"])
    pieces = tokenizer.words(TEXTS)
    with MicroBatcher(model) as batcher:
        mixed = [rows[0], late_text(bad, "a"), *rows[1:], late_text(pieces[0], "a", [(bad, "b", 1.0)])]
        scored = batcher.submit(mixed).result(PATIENCE_S)
    assert sorted(scored.failed) == [1, 13]
    assert all(isinstance(error, ModelOutputError) for error in scored.failed.values())
    np.testing.assert_allclose(np.delete(scored.y_hat, [1, 13]), alone[:, 0], atol=1e-5)
    assert text_key("watch zebra") not in {kept.key for kept in model.vectors.newest(1_000)}


def test_a_broken_encoder_is_detected_despite_a_cached_probe(
    model: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    model.warm_up()
    model.score_texts([late_text(model.probe.piece)])
    with torch.no_grad():
        embeddings(model.network).fill_(torch.nan)
    with MicroBatcher(model) as batcher, pytest.raises(DeviceError, match="known-good"):
        batcher.submit([late_text(tokenizer.words(["watch something else"])[0])]).result(PATIENCE_S)


def test_a_broken_device_breaks_the_batcher(model: LateModel, tokenizer: BehaviourTokenizer) -> None:
    rows = some_rows(tokenizer, 4)
    torch.nn.init.constant_(model._late.output.bias, torch.nan)
    with MicroBatcher(model) as batcher, pytest.raises(DeviceError, match="known-good"):
        batcher.submit(rows).result(PATIENCE_S)
