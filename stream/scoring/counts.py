"""Names of the counters of a batch: set by the processor and the label join, exported as metrics."""

EVENTS = "events"
SCORES = "scores"
OUTCOMES = "outcomes"
TICKS = "ticks"
LABEL_WITHOUT_SCORE = "label_without_score"


def label_from(source: str) -> str:
    """Return the counter name for labels of a source: outcome, attribution or expiry."""
    return f"label_{source}"
