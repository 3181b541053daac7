"""The rules of the protocol as switches: with all of them the guarantees hold, without one they are violated."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Rules:
    """Rules of a worker, and one of the broker. The numbers are those of docs/exactly-once.md.

    Each comment states the rule, and then what happens without it.
    """

    # 9: a later unit reads the layers of earlier units; without, only committed values.
    layers: bool = True
    # 8: dropping a unit drops all later ones; without, later ones stay.
    drop_later_units: bool = True
    # 15: commits carry the epoch of their batches; without, the client's current one.
    frozen_epoch: bool = True
    # 10: every unit commits its offsets; without, every other unit leaves them to the next one.
    offsets_in_every_unit: bool = True
    # Output, state and offsets are in one transaction; without, the offsets follow in a second one.
    one_transaction: bool = True
    # 13: a commit without an answer is sent again; without, the unit is written again.
    repeat_commit: bool = True
    # 17: after an ended transaction the worker rejoins its group; without, it writes the unit again.
    rejoin_when_ended: bool = True
    # Step 5: RocksDB is written after the commit; without, before it.
    write_after_commit: bool = True
    # 18: a recovery waits for open transactions; without, it takes the current offsets.
    stable_offsets: bool = True
    # 22: the offsets are read before the changelog's end; without, after it.
    offsets_before_end: bool = True
    # 22: the changelog is read to that end; without, as far as is readable at the moment.
    read_to_end: bool = True
    # A recovery reads the changelog with read_committed; without, it reads aborted records too.
    committed_changelog: bool = True
    # 19: records below our own next offset are dropped, wherever the client seeks; without, they are delivered.
    drop_below_base: bool = True
    # 19: records fetched before the seek of their epoch are not delivered; without, they are.
    fetched_after_seek: bool = True
    # 25, of the broker: a marker waits for its partition's leader; without, it is dropped (KAFKA-20734).
    markers_wait_for_leader: bool = True

    def without(self, rule: str) -> "Rules":
        """Return these rules without one."""
        return replace(self, **{rule: False})
