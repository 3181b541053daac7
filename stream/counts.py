"""Names of what a batch counts: the processor and the label join count them, the metrics export them."""

EVENTS = "events"
SCORES = "scores"
OUTCOMES = "outcomes"
TICKS = "ticks"
LABEL_WITHOUT_SCORE = "label_without_score"


def label_from(source: str) -> str:
    """Return the name of the count of labels from a source: outcome, attribution or expiry."""
    return f"label_{source}"
