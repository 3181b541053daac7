"""From a scored event to what each behaviour of its past did to the score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.explain import Explanation, explain
from model.explain_late import explain_late
from model.features.keys import NO_KEY
from model.jobs import LateText
from model.late_model import LateModel
from model.loaded import LoadedModel
from model.loading import Model
from model.network import hidden_size
from model.text import split_behaviours, split_history
from model.words import ITEM_START
from sway.errors import CommandError
from sway.explaining.find import ScoredEvent
from sway.tailing.show import printable


@dataclass(frozen=True, slots=True)
class Swayed:
    """One behaviour of the past. words: None where they are gone; grade: None while its outcome was not known.

    attention: None where the model has none.
    """

    at_ms: int
    words: str | None
    grade: float | None
    effect: float
    attention: float | None


@dataclass(frozen=True, slots=True)
class Explained:
    """An event and what swayed its score. behaviours: oldest first. lam: the weight of z_hat in the influence."""

    event: ScoredEvent
    version: str
    lam: float
    now: Explanation
    behaviours: list[Swayed]

    @property
    def gone(self) -> int:
        """How many behaviours there are without words."""
        return sum(one.words is None for one in self.behaviours)


def explain_event(event: ScoredEvent, words: Mapping[int, str], model: Model) -> Explained:
    """Score the event again, with its past and without each behaviour of it.

    words: texts without outcomes, by key. Raises CommandError if the model cannot read what was kept of the event.
    """
    past = event.snapshot.past
    found = _late(event, words, model) if isinstance(model, LateModel) else _joint(event, model)
    attention: Sequence[float | None] = found.attention or [None] * len(past)
    behaviours = [
        Swayed(int(one["at_ms"]), words.get(int(one["text"])), _known(float(one["z"])), effect, weight)
        for one, effect, weight in zip(past, found.effects, attention, strict=True)
    ]
    return Explained(event, model.version, model.lam, found, behaviours)


def _late(event: ScoredEvent, words: Mapping[int, str], model: LateModel) -> Explanation:
    snapshot = event.snapshot
    own = words.get(snapshot.text_key)
    if own is None:
        raise CommandError(
            f"the words of event {printable(event.event_id)} are gone: nothing is left to score"
        )
    texts = [words.get(key, "") for key in snapshot.past["text"].tolist()]
    piece, *pieces = model.tokenizer.words([own, *texts])
    _take_as_unlike_any(model, [key for key in snapshot.past["text"].tolist() if key not in words])

    def attend(text: LateText) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return model.attention(model.pack([text]))[0].cpu().numpy()

    return explain_late(
        LateText(snapshot, piece, lambda: pieces, truncated=False),
        score=lambda rows: model.score_texts(rows).numpy(),
        attend=attend,
        lam=model.lam,
    )


def _take_as_unlike_any(model: LateModel, keys: Sequence[int]) -> None:
    """Give texts without words a vector of zeros: no cosine with any other, and nothing to agree on."""
    gone = np.array(sorted(set(keys) - {NO_KEY}), np.uint64)
    with torch.inference_mode():
        zeros = torch.zeros(len(gone), hidden_size(model.network.encoder), device=model.device)
        model.vectors.put(gone, [b""] * len(gone), zeros, zeros.sum(1))


def _joint(event: ScoredEvent, model: LoadedModel) -> Explanation:
    rates, behaviours = split_history(event.history)
    past = event.snapshot.past
    if not event.target or (len(past) and not event.history):
        raise CommandError(
            f"{model.version} reads whole texts, and no text was kept of event {printable(event.event_id)}, which "
            f"{event.model_version} scored"
        )
    item = [part for part in split_behaviours(rates) if part.startswith(ITEM_START)]
    tokenizer = model.tokenizer
    (target,) = tokenizer.words([event.target])
    return explain(
        tokenizer.words(behaviours),
        [_known(y) for y in past["y"].tolist()],
        target,
        tokenizer.words(item) if model.text.item_rates else (),
        tokenizer=tokenizer,
        score=lambda texts: model.score_texts(texts).numpy(),
        lam=model.lam,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
