"""A bad champion is refused with an alarm, and the model in use stays."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import BertConfig, BertModel, PreTrainedModel, T5Config, T5Model

from tests.unit.stream.worker.champion_bench import ChampionBench


@pytest.fixture
def bench(tmp_path: Path, tiny_base: Path) -> ChampionBench:
    return ChampionBench(tmp_path, tiny_base)


def missing_version(bench: ChampionBench) -> str:
    shutil.rmtree(bench.publish("bad"))
    return "missing"


def missing_file(bench: ChampionBench) -> str:
    (bench.publish("bad") / "heads.safetensors").unlink()
    return "corrupt"


def truncated_weights(bench: ChampionBench) -> str:
    path = bench.publish("bad") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return "corrupt"


def altered_weights(bench: ChampionBench) -> str:
    path = bench.publish("bad") / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return "corrupt"


def truncated_manifest(bench: ChampionBench) -> str:
    path = bench.publish("bad") / "manifest.json"
    path.write_text(path.read_text()[:50])
    return "corrupt"


def encoder_decoder(bench: ChampionBench) -> str:
    config = T5Config(vocab_size=30_522, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    bench.publish("bad", change=lambda folder: replace_encoder(folder, T5Model(config)))
    return "incompatible"


def weights_of_another_shape(bench: ChampionBench) -> str:
    config = BertConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    bench.publish("bad", change=lambda folder: replace_encoder(folder, bert(config)))
    return "incompatible"


def missing_settings(bench: ChampionBench) -> str:
    bench.publish("bad", change=lambda folder: (folder / "sway.json").unlink())
    return "incompatible"


def too_many_token_ids(bench: ChampionBench) -> str:
    config = BertConfig(
        vocab_size=999, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    bench.publish("bad", change=lambda folder: replace_encoder(folder, bert(config)))
    return "incompatible"


def missing_tokenizer(bench: ChampionBench) -> str:
    bench.publish("bad", change=lambda folder: (folder / "tokenizer.json").unlink())
    return "tokenizer"


def truncated_tokenizer(bench: ChampionBench) -> str:
    bench.publish("bad", change=lambda folder: (folder / "tokenizer.json").write_text('{"version": "1.0"'))
    return "tokenizer"


def nan_weights(bench: ChampionBench) -> str:
    bench.publish("bad", bias=float("nan"))
    return "not_finite"


def infinite_weights(bench: ChampionBench) -> str:
    bench.publish("bad", bias=float("inf"))
    return "not_finite"


def bert(config: BertConfig) -> PreTrainedModel:
    return BertModel(config)  # type: ignore[no-untyped-call]


def replace_encoder(folder: Path, encoder: PreTrainedModel) -> None:
    for name in ("model.safetensors", "config.json"):
        (folder / name).unlink()
    encoder.save_pretrained(folder, safe_serialization=True)


BAD = [
    missing_version,
    missing_file,
    truncated_weights,
    altered_weights,
    truncated_manifest,
    encoder_decoder,
    weights_of_another_shape,
    missing_settings,
    too_many_token_ids,
    missing_tokenizer,
    truncated_tokenizer,
    nan_weights,
    infinite_weights,
]


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_a_bad_champion_raises_an_alarm_until_replaced(
    bench: ChampionBench, spoil: Callable[[ChampionBench], str], caplog: pytest.LogCaptureFixture
) -> None:
    reason = spoil(bench)
    number = bench.registry.promotions()[-1] + 1
    promotion = bench.path / "promotions" / f"{number:06d}.json"
    # promote() would refuse some of the versions.
    promotion.write_text('{"version": "bad", "promoted_at_ms": 0}')
    for _ in range(3):
        bench.watcher.poll()
        bench.now_s += 61
    assert bench.offered == []
    assert bench.watcher.version == "v0"
    assert bench.shown(f'sway_champion_refused_total{{reason="{reason}"}}') == 1
    assert bench.shown("sway_champion_alarm") == 1
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert f"Promotion {number} cannot be followed ({reason}); model v0 stays in use" in line
    bench.promote("good")
    bench.watcher.poll()
    assert [model.version for model in bench.offered] == ["good"]
    assert bench.shown("sway_champion_alarm") == 0


def test_a_refused_champion_is_retried_after_a_longer_pause(bench: ChampionBench) -> None:
    path = bench.publish("v1") / "heads.safetensors"
    content = path.read_bytes()
    path.write_bytes(b"")
    bench.registry.promote("v1")
    bench.watcher.poll()
    # The version is repaired under the same promotion.
    path.write_bytes(content)
    bench.now_s += 59
    bench.watcher.poll()
    assert bench.offered == []
    bench.now_s += 2
    bench.watcher.poll()
    assert [model.version for model in bench.offered] == ["v1"]


def test_rolling_back_to_the_serving_version_ends_the_alarm(bench: ChampionBench) -> None:
    nan_weights(bench)
    bench.registry.promote("bad")
    bench.watcher.poll()
    assert bench.shown("sway_champion_alarm") == 1
    bench.registry.promote("v0")
    bench.watcher.poll()
    assert bench.shown("sway_champion_alarm") == 0
    assert bench.offered == []


def test_a_promotion_that_cannot_be_parsed_is_refused(bench: ChampionBench) -> None:
    (bench.path / "promotions" / "000002.json").write_text("{")
    bench.watcher.poll()
    assert bench.shown('sway_champion_refused_total{reason="corrupt"}') == 1
