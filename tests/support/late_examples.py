"""Examples with snapshots of a synthetic audience: two groups of users and two kinds of items."""

import numpy as np

from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent, Outcome
from trainer.dataset import Example, label_in_order
from trainer.snapshots import Pair

USERS, ITEMS = 20, 30


def audience_pairs(events: int, *, seed: int = 0, contrary_until: int = 0) -> list[Pair]:
    """Return events a minute apart; half of the users like even items, half odd ones.

    contrary_until: the first events, this many, have inverted outcomes.
    """
    random = np.random.default_rng(seed)
    pairs = []
    for place in range(events):
        user, item = int(random.integers(USERS)), int(random.integers(ITEMS))
        liked = ((user + item) % 2 == 0) != (place < contrary_until)
        at_ms = 10**12 + place * 60_000
        words = f"film {'crime' if item % 2 else 'comedy'} {item}"
        event = BehaviorEvent(f"e{place}", f"u{user}", "watch", at_ms, item_id=f"i{item}", item_text=words)
        pairs.append(
            (event, Outcome(event.event_id, event.user_id, y=float(liked), z=float(liked), observed_at=at_ms))
        )
    return pairs


def audience(
    events: int, tokenizer: BehaviourTokenizer, *, seed: int = 0, contrary_until: int = 0
) -> list[Example]:
    """Return the examples that a worker makes of audience_pairs()."""
    return list(label_in_order(audience_pairs(events, seed=seed, contrary_until=contrary_until), tokenizer))
