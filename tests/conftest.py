"""Fixtures that many tests share: the real weights and tokenizer, and a tiny random model."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from model import checkpoint
from model.loaded import LoadedModel
from model.network import NetworkSettings, TwoHeadedNetwork
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from sway import base_model


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """The folder of all-MiniLM-L6-v2, as its package ships it."""
    return base_model.minilm_dir()


@pytest.fixture(scope="session")
def tokenizer(minilm_dir: Path) -> BehaviourTokenizer:
    """The real tokenizer with default settings, shared: its cache only makes it faster."""
    return BehaviourTokenizer.from_folder(minilm_dir, TextSettings())


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, minilm_dir: Path) -> Path:
    """A Hugging Face checkpoint: two layers, 32 wide, random weights, the real tokenizer."""
    torch.manual_seed(0)
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    folder = tmp_path_factory.mktemp("tiny-base")
    network = TwoHeadedNetwork(BertModel(config), NetworkSettings())  # type: ignore[no-untyped-call]
    checkpoint.save(network, folder, tokenizer_from=minilm_dir)
    return folder


@pytest.fixture
def tiny_network(tiny_base: Path) -> TwoHeadedNetwork:
    """A network on the tiny base with random heads; each test has its own."""
    network = checkpoint.from_base(tiny_base, NetworkSettings())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        network.heads.weight.copy_(torch.randn(2, 32, generator=generator) * 0.1)
        network.heads.bias.copy_(torch.tensor([0.5, 0.4]))
    return network


@pytest.fixture
def tiny_model(tiny_network: TwoHeadedNetwork, tokenizer: BehaviourTokenizer) -> LoadedModel:
    """The tiny network, loaded on the CPU in fp32."""
    return LoadedModel("tiny", tiny_network, tokenizer, device=torch.device("cpu"), dtype="fp32")
