"""A partition's running sums during one batch: of its items, its users and all outcomes.

Each value is read once and written once per batch. The values are types of model.features.state; this module also
converts them from and to the records of the items table.
"""

import struct
from typing import NamedTuple

from model.features.history import Past
from model.features.learning import learn
from model.features.state import NO_ITEM, NO_MEAN, NO_TOTALS, ItemState, Mean, UserTotals
from schemas.state_records import ItemSums, PartitionSums, UserSums
from stream.exactly_once import Unit
from stream.scoring.labels.join import Closing
from stream.scoring.labels.state import (
    ITEMS,
    PARTITION_SUMS_KEY,
    ItemsState,
    item_sums_key,
    user_sums_key,
)
from stream.scoring.labels.tables import Table

_GRADE_BYTES = 4
_GRADES = tuple(struct.Struct(f"<{count}f") for count in range(11))


class UserState(NamedTuple):
    """A user's sums. residuals: of the behaviours in the window, packed by stream.scoring.window_columns."""

    totals: UserTotals = NO_TOTALS
    residuals: bytes = b""


NO_USER = UserState()


class BatchSums:
    """The sums read and changed by one batch; `end` writes the changes.

    table: None if labels are disabled; nothing is stored then.
    """

    def __init__(self, table: Table[ItemsState] | None, partition: int) -> None:
        self._table = table
        self._partition = partition
        self._mean: Mean | None = None
        self._items: dict[str, ItemState] = {}
        self._users: dict[bytes, UserState] = {}
        self._changed_items: set[str] = set()
        self._changed_users: set[bytes] = set()
        self._changed_mean = False

    @property
    def mean(self) -> Mean:
        """The sums over all outcomes of the partition."""
        if self._mean is None:
            self._mean = mean_of(self._get(PARTITION_SUMS_KEY))
        return self._mean

    def item(self, item_id: str) -> ItemState:
        """Return an item's state; the empty state for an event without an item."""
        if not item_id:
            return NO_ITEM
        state = self._items.get(item_id)
        if state is None:
            state = self._items[item_id] = item_of(self._get(item_sums_key(item_id)))
        return state

    def user(self, user_id: bytes) -> UserState:
        """Return a user's state. user_id: in UTF-8."""
        state = self._users.get(user_id)
        if state is None:
            state = self._users[user_id] = user_of(self._get(user_sums_key(user_id)))
        return state

    def count_behaviour(self, user_id: bytes, at_ms: int) -> None:
        """Count a behaviour of a user at its event time."""
        user = self.user(user_id)
        self._users[user_id] = UserState(user.totals.with_behaviour(at_ms), user.residuals)
        self._changed_users.add(user_id)

    def learn(self, user_id: bytes, closing: Closing, own_mean: float) -> Past:
        """Learn a label; return its behaviour with outcome and residual.

        own_mean: mean of the known outcomes in the user's window, before this one.
        """
        user, item_id = self.user(user_id), closing.item_id
        learned = learn(
            Past(closing.occurred_at, item_id),
            closing.y,
            closing.z,
            item=self.item(item_id),
            totals=user.totals,
            mean=self.mean,
            own_mean=own_mean,
        )
        self._users[user_id] = UserState(learned.totals, user.residuals)
        self._changed_users.add(user_id)
        self._mean, self._changed_mean = learned.mean, True
        if item_id:
            self._items[item_id] = learned.item
            self._changed_items.add(item_id)
        return learned.past

    def set_residuals(self, user_id: bytes, residuals: bytes) -> None:
        """Set the residuals of a user's window."""
        self._users[user_id] = UserState(self.user(user_id).totals, residuals)
        self._changed_users.add(user_id)

    def end(self, unit: Unit) -> None:
        """Write the changes to the unit."""
        partition = self._partition
        for item_id in self._changed_items:
            unit.put(ITEMS, partition, item_sums_key(item_id), item_record(self._items[item_id]))
        for user_id in self._changed_users:
            unit.put(ITEMS, partition, user_sums_key(user_id), user_record(self._users[user_id]))
        if self._changed_mean:
            unit.put(ITEMS, partition, PARTITION_SUMS_KEY, PartitionSums(*self.mean))

    def _get(self, key: bytes) -> ItemsState | None:
        return None if self._table is None else self._table.get_in(self._partition, key)


def mean_of(state: ItemsState | None) -> Mean:
    """Convert the partition's record; the empty state if there is none."""
    return Mean(state.outcomes, state.z_sum) if isinstance(state, PartitionSums) else NO_MEAN


def item_of(state: ItemsState | None) -> ItemState:
    """Convert an item's record; the empty state if there is none."""
    if not isinstance(state, ItemSums):
        return NO_ITEM
    recent = _GRADES[len(state.recent) // _GRADE_BYTES].unpack(state.recent)
    return ItemState(
        state.outcomes,
        state.y_sum,
        state.z_sum,
        state.above_mean,
        state.above_user,
        state.last_at,
        recent,
    )


def item_record(item: ItemState) -> ItemSums:
    """Convert an item's state to its record."""
    return ItemSums(*item[:6], _GRADES[len(item.recent)].pack(*item.recent))


def user_of(state: ItemsState | None) -> UserState:
    """Convert a user's record; the empty state if there is none."""
    if not isinstance(state, UserSums):
        return NO_USER
    totals = UserTotals(
        state.behaviours,
        state.outcomes,
        state.y_sum,
        state.z_sum,
        state.residual_sum,
        state.residual_squares,
        state.slow,
        state.first_at,
        state.last_at,
    )
    return UserState(totals, state.residuals)


def user_record(user: UserState) -> UserSums:
    """Convert a user's state to its record."""
    return UserSums(*user.totals, user.residuals)
