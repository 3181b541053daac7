"""A new model takes over between two units, and later texts are built with its tokenizer."""

from pathlib import Path
from typing import Any

import pytest

from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from tests.support.processing import NOW_MS, Model, Processing, event, outcome


@pytest.fixture(scope="module")
def other_tokenizer(minilm_dir: Path) -> BehaviourTokenizer:
    """A tokenizer with shorter, lower-case texts without rates."""
    text = TextSettings(
        max_tokens=70, max_behaviour_tokens=20, habits=False, item_rates=False, lowercase=True
    )
    return BehaviourTokenizer.from_folder(minilm_dir, text)


def seen(number: int) -> Any:
    return event(f"e{number}", occurred_at=NOW_MS - 1000 + number, item_text=f"Film {number}", item_id="i1")


def ids(processing: Processing) -> list[bytes]:
    return [text.ids for _, text in sorted(processing.published.texts.items())]


def test_an_offered_model_takes_over_with_the_next_unit(
    tokenizer: BehaviourTokenizer, other_tokenizer: BehaviourTokenizer
) -> None:
    processing = Processing(tokenizer)
    swaps: list[str] = []
    processing.processor.on_swap = lambda model: swaps.append(model.version)
    processing.open()
    processing.read([processing.record(seen(1))])
    processing.processor.offer(Model("v2", other_tokenizer, lam=0.0))
    processing.read([processing.record(seen(2))])
    # A unit keeps its version.
    assert swaps == []
    processing.open()
    # Nothing is submitted before the first read.
    assert swaps == []
    processing.read([processing.record(seen(3))])
    assert swaps == ["v2"]
    while processing.open_units:
        processing.commit()
    first, _, third = processing.published.scores
    assert first.influence == pytest.approx(min(1.0, (first.y_hat + 0.5 * first.z_hat) / 1.5))
    # The influence uses the lambda of the unit's model, here 0.
    assert third.influence == pytest.approx(third.y_hat)


def test_the_newest_offered_model_is_used(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer)
    swaps: list[str] = []
    processing.processor.on_swap = lambda model: swaps.append(model.version)
    for version in ("v2", "v3"):
        processing.processor.offer(Model(version, tokenizer))
    processing.deliver(seen(1))
    processing.deliver(seen(2))
    assert swaps == ["v3"]


@pytest.mark.parametrize("committed", [True, False], ids=["from the store", "from a layer"])
def test_windows_are_tokenized_again_for_the_new_model(
    tokenizer: BehaviourTokenizer, other_tokenizer: BehaviourTokenizer, committed: bool
) -> None:
    swapped, always, never = Processing(tokenizer), Processing(other_tokenizer), Processing(tokenizer)
    for processing in (swapped, always, never):
        processing.open()
        processing.read([processing.record(seen(1)), processing.record(seen(2))])
        processing.read([processing.record(outcome("e1"))])
        if committed:
            processing.commit()
        processing.open()
        if processing is swapped:
            processing.processor.offer(Model("v2", other_tokenizer))
        processing.read([processing.record(seen(3)), processing.record(seen(3))])
        while processing.open_units:
            processing.commit()
    assert ids(swapped)[-2:] == ids(always)[-2:]
    assert ids(swapped)[-1] != ids(never)[-1]
    # The state does not depend on the model.
    assert swapped.table.stored == always.table.stored
