"""The consumer group's identity in the bytes that librdkafka's transactional producer takes. Pure.

A transaction that carries it is refused (ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID) once the group has moved on.
The layout is librdkafka's own, of `rd_kafka_consumer_group_metadata_write`; a test compares it with what a
confluent Consumer prints.
"""

import struct

from stream.exactly_once.units.errors import GroupMetadataError
from stream.exactly_once.units.records import Epoch

_MAGIC = b"CGMDv2:"


def group_metadata(group_id: str, epoch: Epoch, group_instance_id: str | None = None) -> bytes:
    """Encode (group, generation, member) for `send_offsets_to_transaction`.

    Raises GroupMetadataError for a generation below 0 or an empty member id: the broker does not check
    those, so a woken zombie would commit.
    """
    if epoch.generation < 0 or not epoch.member_id:
        raise GroupMetadataError(
            f"Cannot commit for group {group_id!r} with generation {epoch.generation} and member id "
            f"{epoch.member_id!r}: the broker would not check it. The epoch must be frozen at assignment."
        )
    instance = b"\x01" if group_instance_id is None else b"\x00" + group_instance_id.encode() + b"\x00"
    return (
        _MAGIC
        + struct.pack("=i", epoch.generation)
        + group_id.encode()
        + b"\x00"
        + epoch.member_id.encode()
        + b"\x00"
        + instance
    )
