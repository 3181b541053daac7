"""The two-headed network: loss, pooling, checkpoints and devices."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, DistilBertConfig, DistilBertModel

from model import checkpoint
from model.batches import to_tensors
from model.device import choose_device, choose_dtype, dtype_name
from model.errors import ModelIncompatible
from model.hashing import sha256_of
from model.loaded import LoadedModel
from model.network import NetworkSettings, Pooling, TwoHeadedNetwork, pool, two_head_loss
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from sway.base_model import WEIGHTS_SHA256
from tests.unit.model.scoring_models import encoded


def test_the_loss_matches_a_worked_example() -> None:
    outputs = torch.tensor([[0.5, 0.2], [1.0, 0.9]])
    loss = two_head_loss(outputs, torch.tensor([1.0, 0.0]), torch.tensor([0.7, 0.9]), 2.0)
    assert loss.item() == pytest.approx((0.25 + 2 * 0.25 + 1.0 + 0.0) / 2)


def test_a_row_without_z_counts_in_the_first_term_only() -> None:
    outputs = torch.tensor([[0.5, 0.2], [1.0, 9.0]], requires_grad=True)
    loss = two_head_loss(outputs, torch.tensor([1.0, 0.0]), torch.tensor([0.7, math.nan]), 2.0)
    assert loss.item() == pytest.approx((0.25 + 2 * 0.25 + 1.0) / 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()
    assert outputs.grad[1, 1] == 0


def test_a_weighted_row_counts_as_repeated_rows() -> None:
    outputs = torch.tensor([[0.5, 0.2], [1.0, 0.9]])
    y, z = torch.tensor([1.0, 0.0]), torch.tensor([0.7, 0.9])
    weighted = two_head_loss(outputs, y, z, 0.5, torch.tensor([1.5, 0.5]))
    repeated = torch.tensor([0, 0, 0, 1])
    assert weighted.item() == pytest.approx(
        two_head_loss(outputs[repeated], y[repeated], z[repeated], 0.5).item()
    )


def test_pooling_ignores_padding() -> None:
    hidden = torch.tensor([[[1.0], [3.0], [99.0]]])
    mask = torch.tensor([[1, 1, 0]])
    second = torch.tensor([[0, 1, 0]])
    assert pool(hidden, mask, second, Pooling.MEAN).item() == 2.0
    assert pool(hidden, mask, second, Pooling.TARGET).item() == 3.0
    assert pool(hidden, mask, second, Pooling.CLS).item() == 1.0


def test_tensors_are_padded_and_typed() -> None:
    batch = to_tensors([encoded(3, first_id=10), encoded(5, first_id=20)], pad_id=9, multiple=8)
    assert batch.input_ids.tolist() == [[10, 11, 12, 9, 9, 9, 9, 9], [20, 21, 22, 23, 24, 9, 9, 9]]
    assert batch.attention_mask.sum(1).tolist() == [3, 5]
    assert batch.token_type_ids.tolist() == [[0, 1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0, 0]]
    assert (len(batch), batch.padded_tokens) == (2, 16)
    assert batch.select([1]).input_ids.tolist() == [[20, 21, 22, 23, 24, 9, 9, 9]]
    assert len(batch.rows(0, 1)) == 1


def test_the_shipped_weights_have_the_pinned_hash(minilm_dir: Path) -> None:
    assert sha256_of(minilm_dir / "model.safetensors") == WEIGHTS_SHA256


def test_features_equal_mean_pooling_of_the_base_model(minilm_dir: Path) -> None:
    network = checkpoint.from_base(minilm_dir, NetworkSettings(pooling=Pooling.MEAN)).eval()
    tokenizer = BehaviourTokenizer.from_folder(minilm_dir, TextSettings())
    pieces = tokenizer.words(["watch Heat 1995 liked", "watch Alien 1979", "user likes 60 percent of 5"])
    texts = [tokenizer.encode(pieces[:1], pieces[1], pieces[2:]), tokenizer.encode((), pieces[1])]
    batch = to_tensors(texts, pad_id=0)
    reference = AutoModel.from_pretrained(minilm_dir, attn_implementation="eager").eval()
    with torch.inference_mode():
        ours = network.features(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        for row, text in enumerate(texts):
            ids = torch.tensor([text.input_ids().tolist()])
            types = torch.arange(text.tokens)[None] >= text.first_segment_tokens
            hidden = reference(input_ids=ids, token_type_ids=types.long()).last_hidden_state
            assert torch.allclose(ours[row], hidden[0].mean(0), atol=1e-5)


def test_untrained_heads_return_zero(tiny_base: Path) -> None:
    network = checkpoint.from_base(tiny_base, NetworkSettings())
    batch = to_tensors([encoded(4)], pad_id=0)
    assert network(batch.input_ids, batch.attention_mask, batch.token_type_ids).tolist() == [[0.0, 0.0]]


def test_a_checkpoint_survives_a_round_trip(
    tiny_network: TwoHeadedNetwork, tiny_base: Path, tmp_path: Path
) -> None:
    settings = NetworkSettings(pooling=Pooling.CLS, lam=0.25, text=TextSettings(max_tokens=80, habits=False))
    saved = TwoHeadedNetwork(tiny_network.encoder, settings)
    saved.heads.load_state_dict(tiny_network.heads.state_dict())
    checkpoint.save(saved, tmp_path / "saved", tokenizer_from=tiny_base)
    loaded = checkpoint.load(tmp_path / "saved")
    assert loaded.settings == settings
    batch = to_tensors([encoded(9), encoded(4)], pad_id=0)
    inputs = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
    assert torch.equal(loaded(*inputs), saved.eval()(*inputs))
    assert not loaded.training
    model = LoadedModel.from_folder("v", tmp_path / "saved", device=torch.device("cpu"))
    assert (model.lam, model.text.max_tokens, model.dtype, model.pad_id) == (0.25, 80, "fp32", 0)
    model.warm_up()


def test_a_checkpoint_holds_no_pickle(tiny_base: Path) -> None:
    assert {path.suffix for path in tiny_base.iterdir()} == {".json", ".safetensors", ".txt"}


def test_fewer_layers_can_be_kept(minilm_dir: Path) -> None:
    network = checkpoint.from_base(minilm_dir, NetworkSettings(), layers=2)
    assert network.encoder.config.num_hidden_layers == 2


def test_an_encoder_without_token_types_works(minilm_dir: Path, tmp_path: Path) -> None:
    encoder = DistilBertModel(DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64))
    checkpoint.save(TwoHeadedNetwork(encoder, NetworkSettings()), tmp_path / "d", tokenizer_from=minilm_dir)
    model = LoadedModel.from_folder("distil", tmp_path / "d", device=torch.device("cpu"))
    assert model.score_texts([model.probe]).shape == (1, 2)


def test_missing_weights_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    network = checkpoint.from_base(tiny_base, NetworkSettings())
    checkpoint.save(network, tmp_path / "a", tokenizer_from=tiny_base)
    weights = load_file(tmp_path / "a" / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, tmp_path / "a" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelIncompatible, match="1 weights are missing"):
        checkpoint.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("sway.json", b"{}"),
        ("sway.json", b'{"format": 99}'),
        ("sway.json", b"not json"),
        ("config.json", b"{}"),
        ("model.safetensors", b"short"),
        ("heads.safetensors", b"short"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tiny_base: Path, tmp_path: Path, file: str, content: bytes) -> None:
    checkpoint.save(
        checkpoint.from_base(tiny_base, NetworkSettings()), tmp_path / "c", tokenizer_from=tiny_base
    )
    (tmp_path / "c" / file).write_bytes(content)
    with pytest.raises(ModelIncompatible):
        checkpoint.load(tmp_path / "c")


def test_heads_stay_in_fp32_with_a_bf16_encoder(tiny_network: TwoHeadedNetwork) -> None:
    tiny_network.place(torch.device("cpu"), torch.bfloat16)
    batch = to_tensors([encoded(4)], pad_id=0)
    outputs = tiny_network.eval()(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    assert outputs.dtype == torch.float32
    assert next(tiny_network.encoder.parameters()).dtype == torch.bfloat16


def test_a_model_that_returns_nan_fails_to_warm_up(
    tiny_network: TwoHeadedNetwork, tokenizer: BehaviourTokenizer
) -> None:
    with torch.no_grad():
        tiny_network.heads.bias.fill_(math.nan)
    model = LoadedModel("nan", tiny_network, tokenizer, device=torch.device("cpu"))
    with pytest.raises(Exception, match="known-good"):
        model.warm_up()


def test_a_tokenizer_with_too_long_texts_is_refused(tiny_network: TwoHeadedNetwork, minilm_dir: Path) -> None:
    long = BehaviourTokenizer.from_folder(minilm_dir, replace(TextSettings(), max_tokens=1000))
    tiny_network.settings = NetworkSettings(text=long.settings)
    with pytest.raises(ModelIncompatible, match="512 positions"):
        LoadedModel("long", tiny_network, long, device=torch.device("cpu"))


def test_device_and_dtype_follow_the_machine() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_dtype("auto", cpu) is torch.float32
    assert choose_dtype("auto", gpu) is torch.bfloat16
    assert dtype_name(choose_dtype("fp16", gpu)) == "fp16"
    with pytest.raises(ValueError, match="int8"):
        choose_dtype("int8", cpu)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            choose_device("cuda")


def test_lambda_must_be_finite_and_not_negative() -> None:
    with pytest.raises(ValueError, match="lam=-1"):
        NetworkSettings(lam=-1)
    with pytest.raises(ValueError, match="lam=inf"):
        NetworkSettings(lam=np.inf)
