"""Shared fixtures: one Kafka, the real weights and tokenizer, and a tiny random model.

Fixtures import slow packages (torch, transformers, Kafka's clients) themselves, so that pure tests start fast.
"""

import asyncio
import inspect
import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The models in tests are tiny: more threads only slow them down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support import tiny

if TYPE_CHECKING:
    from model.loaded import LoadedModel
    from model.network import TwoHeadedNetwork
    from model.tokens import BehaviourTokenizer
    from sway.embedded import EmbeddedKafka, EmbeddedRegistry

# The same examples in every run, so that results are reproducible; `make explore` draws new ones. No deadline: the
# duration of an example depends on the load of the machine.
settings.register_profile("same examples", derandomize=True, deadline=None)
settings.load_profile("same examples")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on its own event loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def pytest_configure() -> None:
    """Handle SIGINT: shells start background jobs with it ignored, and child processes would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kafka() -> "Iterator[EmbeddedKafka]":
    """The broker shared by all tests, which use their own topics and groups; a test that stops a broker starts one."""
    from sway.embedded import EmbeddedKafka

    with EmbeddedKafka() as embedded:
        yield embedded


@pytest.fixture(scope="session")
def schema_registry() -> "Iterator[EmbeddedRegistry]":
    """The Schema Registry shared by all tests, which use their own subjects; a test that kills it restarts it."""
    from sway.embedded import EmbeddedRegistry

    with EmbeddedRegistry() as embedded:
        yield embedded


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """The folder of all-MiniLM-L6-v2 in its package."""
    from sway import base_model

    return base_model.minilm_dir()


@pytest.fixture(scope="session")
def tokenizer(minilm_dir: Path) -> "BehaviourTokenizer":
    """The real tokenizer with default settings; sharing it is safe, since its only state is a cache."""
    from model.text import TextSettings
    from model.tokens import BehaviourTokenizer

    return BehaviourTokenizer.from_folder(minilm_dir, TextSettings())


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with two layers, width 32, random weights and the real tokenizer."""
    return tiny.make_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture(scope="session")
def plain_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base without heads and Sway's settings."""
    return tiny.plain(tiny_base, tmp_path_factory.mktemp("plain-base") / "base")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A read-only model registry whose champion is the tiny network with random heads."""
    return tiny.make_registry(
        tmp_path_factory.mktemp("registry"), tiny_base, tmp_path_factory.mktemp("champion")
    )


@pytest.fixture
def tiny_network(tiny_base: Path) -> "TwoHeadedNetwork":
    """A network on the tiny base with random heads, new for each test."""
    import torch

    from model import checkpoint
    from model.network import NetworkSettings

    network = checkpoint.from_base(tiny_base, NetworkSettings())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        network.heads.weight.copy_(torch.randn(2, 32, generator=generator) * 0.1)
        network.heads.bias.copy_(torch.tensor([0.5, 0.4]))
    return network


@pytest.fixture
def tiny_model(tiny_network: "TwoHeadedNetwork", tokenizer: "BehaviourTokenizer") -> "LoadedModel":
    """The tiny network on the CPU in fp32."""
    import torch

    from model.loaded import LoadedModel

    return LoadedModel("tiny", tiny_network, tokenizer, device=torch.device("cpu"), dtype="fp32")
