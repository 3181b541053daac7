"""The effect of each past behaviour on the score of an event."""

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
from sway.explain.find import ScoredEvent
from sway.untrusted import printable


@dataclass(frozen=True, slots=True)
class BehaviourEffect:
    """A past behaviour and its effect on the influence.

    text: None if it is no longer stored. grade: None if its outcome was not known yet. attention: its attention weight,
    None if the model has no attention over behaviours.
    """

    at_ms: int
    text: str | None
    grade: float | None
    effect: float
    attention: float | None


@dataclass(frozen=True, slots=True)
class ScoreExplanation:
    """An event and the effects on its score. behaviours: oldest first. lam: the weight of z_hat in the influence."""

    event: ScoredEvent
    version: str
    lam: float
    now: Explanation
    behaviours: list[BehaviourEffect]

    @property
    def missing_texts(self) -> int:
        """Number of behaviours whose text is no longer stored."""
        return sum(one.text is None for one in self.behaviours)


def explain_event(event: ScoredEvent, texts: Mapping[int, str], model: Model) -> ScoreExplanation:
    """Score the event again with its past behaviours, and without each of them.

    texts: behaviour texts without outcomes, by text key. Raises CommandError if the stored input of the event is not
    sufficient for the model.
    """
    past = event.snapshot.past
    found = _late(event, texts, model) if isinstance(model, LateModel) else _joint(event, model)
    attention: Sequence[float | None] = found.attention or [None] * len(past)
    behaviours = [
        BehaviourEffect(
            int(one["at_ms"]), texts.get(int(one["text"])), _known(float(one["z"])), effect, weight
        )
        for one, effect, weight in zip(past, found.effects, attention, strict=True)
    ]
    return ScoreExplanation(event, model.version, model.lam, found, behaviours)


def _late(event: ScoredEvent, texts: Mapping[int, str], model: LateModel) -> Explanation:
    snapshot = event.snapshot
    own = texts.get(snapshot.text_key)
    if own is None:
        raise CommandError(
            f"the text of event {printable(event.event_id)} is no longer stored, so it cannot be scored"
        )
    past_texts = [texts.get(key, "") for key in snapshot.past["text"].tolist()]
    piece, *pieces = model.tokenizer.words([own, *past_texts])
    _zero_vectors(model, [key for key in snapshot.past["text"].tolist() if key not in texts])

    def attend(text: LateText) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return model.attention(model.pack([text]))[0].cpu().numpy()

    return explain_late(
        LateText(snapshot, piece, lambda: pieces, truncated=False),
        score=lambda rows: model.score_texts(rows).numpy(),
        attend=attend,
        lam=model.lam,
    )


def _zero_vectors(model: LateModel, keys: Sequence[int]) -> None:
    """Give missing texts a zero vector, which has no similarity with any other."""
    missing = np.array(sorted(set(keys) - {NO_KEY}), np.uint64)
    with torch.inference_mode():
        zeros = torch.zeros(len(missing), hidden_size(model.network.encoder), device=model.device)
        model.vectors.put(missing, [b""] * len(missing), zeros, zeros.sum(1))


def _joint(event: ScoredEvent, model: LoadedModel) -> Explanation:
    rates, behaviours = split_history(event.history)
    past = event.snapshot.past
    if not event.target or (len(past) and not event.history):
        raise CommandError(
            f"{model.version} needs the full text, but none is stored for event {printable(event.event_id)}, which "
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
