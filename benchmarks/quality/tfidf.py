"""TF-IDF and logistic regression: a baseline on words without a neural network.

An event has two bags of words: its own text (unigrams and bigrams), and the texts of the user's last ten items, with
separate words for liked and disliked items. Vocabulary and weights are fitted on the training part; the regularisation
strength is chosen on the validation part.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from model.metrics import log_loss
from schemas.records import BehaviorEvent, Outcome

FloatArray = NDArray[np.float64]
Pair = tuple[BehaviorEvent, Outcome]

STRENGTHS = (0.1, 0.3, 1.0)
_LAST = 10


def texts(pairs: Sequence[Pair]) -> Iterator[tuple[str, str]]:
    """Yield each event's own text, and the marked words of the user's last items before it."""
    last: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_LAST))
    for event, outcome in pairs:
        words = event.item_text.lower().replace("-", " ").split()
        yield " ".join(words), " ".join(last[event.user_id])
        mark = "liked_" if (outcome.y or 0) >= 0.5 else "disliked_"
        last[event.user_id].append(" ".join(mark + word for word in words))


def predict(pairs: Sequence[Pair], train: int, valid: int) -> FloatArray:
    """Return y_hat of the pairs after the oldest train + valid ones, in order."""
    targets, histories = zip(*texts(pairs), strict=True)
    own = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    past = TfidfVectorizer(min_df=5, token_pattern=r"\S+")  # noqa: S106 -- no password
    bags = [bag.fit(column[:train]).transform(column) for bag, column in ((own, targets), (past, histories))]
    x = csr_matrix(hstack(bags))
    y = np.array([outcome.y for _, outcome in pairs])
    tried = []
    for strength in STRENGTHS:
        fitted = LogisticRegression(C=strength, max_iter=500).fit(x[:train], y[:train])
        y_hat = fitted.predict_proba(x[train : train + valid])[:, 1]
        tried.append((log_loss(y_hat, y[train : train + valid]), strength, fitted))
    _, _, best = min(tried, key=lambda one: one[:2])
    predicted: FloatArray = best.predict_proba(x[train + valid :])[:, 1]
    return predicted
