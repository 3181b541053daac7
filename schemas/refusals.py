"""Schema ids that a registry does not know, and how often it may be asked for further ones. Pure.

An id is four bytes of an untrusted value. Without a limit a topic full of garbage costs one request a record, until the
registry throttles this client for its good ids too.
"""

REFUSALS_PER_S = 2.0
BURST = 50
_NEAR = 1_000  # a registry counts its ids up, so an id that was registered lately is close to those that are known


class _Bucket:
    """A token bucket: BURST refusals at once, then REFUSALS_PER_S."""

    def __init__(self, now_s: float) -> None:
        self._tokens = float(BURST)
        self._at_s = now_s

    def refill(self, now_s: float) -> float:
        """Return how many refusals may still come."""
        self._tokens = min(float(BURST), self._tokens + (now_s - self._at_s) * REFUSALS_PER_S)
        self._at_s = now_s
        return self._tokens

    def take(self) -> None:
        """Note a refusal."""
        self._tokens -= 1.0


class Refusals:
    """What a registry has refused, each id for keep_s seconds; now_s: seconds that only rise.

    At most BURST + REFUSALS_PER_S * keep_s ids of either kind are remembered. Two kinds share nothing: ids near those
    that the registry knows, and the rest. So random ids, which are hardly ever near, do not use up the questions for a
    new schema.
    """

    def __init__(self, keep_s: float, now_s: float) -> None:
        self.keep_s = keep_s
        self._until: dict[int, float] = {}  # in the order of expiry
        self._near, self._far = _Bucket(now_s), _Bucket(now_s)
        self._highest = 0

    def __len__(self) -> int:
        return len(self._until)

    def holds(self, schema_id: int, now_s: float) -> bool:
        """Whether the registry has refused this id within keep_s."""
        return now_s < self._until.get(schema_id, float("-inf"))

    def may_ask(self, schema_id: int, now_s: float) -> bool:
        """Whether the registry may be asked for this id now."""
        return self._bucket(schema_id).refill(now_s) >= 1.0

    def add(self, schema_id: int, now_s: float) -> None:
        """Note that the registry does not know this id; forget what has expired."""
        self._bucket(schema_id).take()
        self._until.pop(schema_id, None)
        self._until[schema_id] = now_s + self.keep_s
        while (oldest := next(iter(self._until))) != schema_id and self._until[oldest] <= now_s:
            del self._until[oldest]

    def found(self, schema_id: int) -> None:
        """Note that the registry knows this id."""
        self._highest = max(self._highest, schema_id)

    def _bucket(self, schema_id: int) -> _Bucket:
        return self._near if schema_id <= self._highest + _NEAR else self._far
