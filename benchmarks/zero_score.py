"""The score of the peers, which have no model; it has the same fields as Sway's scores."""

import time

from model.loaded import LoadedModel
from model.tokens import EncodedText
from schemas.records import BehaviorEvent, InfluenceScore, Source


def zero_score(
    event: BehaviorEvent, text: EncodedText, source: Source, model: LoadedModel, *, cut: bool, duplicate: bool
) -> InfluenceScore:
    """Return a score with y_hat and z_hat 0."""
    y_hat = z_hat = 0.0
    return InfluenceScore(
        event.event_id,
        event.user_id,
        event.item_id,
        y_hat,
        z_hat,
        min(1.0, max(0.0, (y_hat + model.lam * z_hat) / (1 + model.lam))),
        model.version,
        model.dtype,
        text.behaviours,
        text.truncated or cut,
        duplicate,
        source,
        0,
        event.occurred_at,
        int(time.time() * 1000),
    )
