"""The rules of the protocol as switches: with all of them nothing breaks, without one something must."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Rules:
    """What a worker keeps to, and what it needs of a broker. The numbers are those of docs/exactly-once.md."""

    layers: bool = True  # 9: a later unit reads its predecessors' layers; without, only what is committed
    drop_later_units: bool = True  # 8: a unit that is dropped takes all later ones with it
    frozen_epoch: bool = (
        True  # 15: commits carry the epoch of their batches; without, what the client shows now
    )
    offsets_in_every_unit: bool = True  # 10: without, every other unit leaves its offsets to the next one
    one_transaction: bool = (
        True  # output, state and offsets together; without, the offsets follow in a second
    )
    repeat_commit: bool = (
        True  # 13: a commit without an answer is sent again; without, the unit is written again
    )
    rejoin_when_ended: bool = (
        True  # 17: ask the group what became of an ended transaction; without, write it again
    )
    write_after_commit: bool = True  # step 5: RocksDB after the commit; without, before it
    stable_offsets: bool = True  # 18: wait for open transactions; without, take the offsets that are there
    offsets_before_end: bool = (
        True  # 22: first the offsets, then the changelog's end; without, the other way round
    )
    read_to_end: bool = True  # 22: read up to that end; without, as far as can be read at the moment
    committed_changelog: bool = True  # recovery reads read_committed; without, aborted records as well
    drop_below_base: bool = True  # 19: records below our own next are dropped, wherever the client seeks
    fetched_after_seek: bool = True  # 19: what was fetched in an epoch before its seek is not delivered

    # 25, the broker: a marker waits for its partition's leader; without, it is dropped (KAFKA-20734)
    markers_wait_for_leader: bool = True

    def without(self, rule: str) -> "Rules":
        """Return these rules but one."""
        return replace(self, **{rule: False})
