"""Throughput of a model's data types, measured on a tiny model."""

from pathlib import Path

import pytest
import torch

from model.loaded import LoadedModel
from model.tokens import BehaviourTokenizer
from sway.doctor import speed
from tests.support.late import late_model


def test_every_dtype_is_measured_at_the_models_text_length(tiny_model: LoadedModel) -> None:
    batch = speed.full_batch(tiny_model, max_batch_tokens=200)
    assert batch.input_ids.shape == (2, tiny_model.text.max_tokens)
    torch.nn.init.zeros_(tiny_model.network.heads.weight)  # as untrained; int8 has no scale for zeros
    measured = {m.dtype: m for m in speed.measure(tiny_model, max_batch_tokens=200, seconds=0.0)}
    assert list(measured) == ["fp32", "bf16", "int8"]
    for dtype in ("fp32", "int8"):
        assert (measured[dtype].texts_per_s or 0) > 0, measured[dtype].why_not
    assert tiny_model.network.encoder.dtype is torch.float32


def test_a_dtype_with_a_slow_matrix_product_is_skipped(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "product_s", lambda _device, dtype: 75.0 if dtype is torch.bfloat16 else 1.0)
    measured = {m.dtype: m for m in speed.measure(tiny_model, max_batch_tokens=96, seconds=0.0)}
    assert measured["bf16"].texts_per_s is None
    assert "75 times as long as in fp32" in measured["bf16"].why_not


def test_a_late_models_encoder_is_measured(tiny_base: Path, tokenizer: BehaviourTokenizer) -> None:
    model = late_model(tiny_base, tokenizer)
    measured = {m.dtype: m for m in speed.measure(model, max_batch_tokens=96, seconds=0.0)}
    assert (measured["fp32"].texts_per_s or 0) > 0
    assert model.network.encoder.dtype is torch.float32
