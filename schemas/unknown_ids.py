"""Negative cache of schema ids, with a rate limit on requests for unknown ids.

A schema id is four bytes of an untrusted value. Without a limit, a topic full of garbage costs one request per
record, until the registry throttles this client for valid ids too.
"""

REFUSALS_PER_S = 2.0
BURST = 50
# A registry assigns ascending ids, so a recently registered id is close to the known ones.
_NEAR = 1_000


class _Bucket:
    """A token bucket: a burst of BURST refusals, then REFUSALS_PER_S."""

    def __init__(self, now_s: float) -> None:
        self._tokens = float(BURST)
        self._at_s = now_s

    def refill(self, now_s: float) -> float:
        """Add the tokens earned since the last call; return the number of tokens."""
        self._tokens = min(float(BURST), self._tokens + (now_s - self._at_s) * REFUSALS_PER_S)
        self._at_s = now_s
        return self._tokens

    def take(self) -> None:
        """Remove one token for a refusal."""
        self._tokens -= 1.0


class UnknownIds:
    """Schema ids that the registry does not know, each kept for keep_s seconds.

    now_s: a monotonic clock, in seconds.
    Ids near the known ones and all other ids have separate rate limits, so that random ids, which are rarely near,
    do not use up the requests for a new schema. At most BURST + REFUSALS_PER_S * keep_s ids of each kind are kept.
    """

    def __init__(self, keep_s: float, now_s: float) -> None:
        self.keep_s = keep_s
        # in order of expiry
        self._until: dict[int, float] = {}
        self._near, self._far = _Bucket(now_s), _Bucket(now_s)
        self._highest = 0

    def __len__(self) -> int:
        return len(self._until)

    def holds(self, schema_id: int, now_s: float) -> bool:
        """Return whether the registry refused this id within the last keep_s seconds."""
        return now_s < self._until.get(schema_id, float("-inf"))

    def may_ask(self, schema_id: int, now_s: float) -> bool:
        """Return whether the rate limit allows a request for this id now."""
        return self._bucket(schema_id).refill(now_s) >= 1.0

    def add(self, schema_id: int, now_s: float) -> None:
        """Record that the registry does not know this id, and drop expired ids."""
        self._bucket(schema_id).take()
        self._until.pop(schema_id, None)
        self._until[schema_id] = now_s + self.keep_s
        while (oldest := next(iter(self._until))) != schema_id and self._until[oldest] <= now_s:
            del self._until[oldest]

    def found(self, schema_id: int) -> None:
        """Record that the registry knows this id."""
        self._highest = max(self._highest, schema_id)

    def _bucket(self, schema_id: int) -> _Bucket:
        return self._near if schema_id <= self._highest + _NEAR else self._far
