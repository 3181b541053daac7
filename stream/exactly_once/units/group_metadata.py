"""Encodes consumer group metadata for librdkafka's transactional producer.

The broker refuses a transaction whose metadata belongs to an older generation (ILLEGAL_GENERATION,
UNKNOWN_MEMBER_ID). The layout is that of librdkafka's `rd_kafka_consumer_group_metadata_write`; a test compares it
with the metadata of a confluent-kafka Consumer.
"""

import struct

from stream.exactly_once.units.errors import GroupMetadataError
from stream.exactly_once.units.records import Epoch

_MAGIC = b"CGMDv2:"


def group_metadata(group_id: str, epoch: Epoch, group_instance_id: str | None = None) -> bytes:
    """Encode group, generation and member id for `send_offsets_to_transaction`.

    Raises GroupMetadataError for a generation below 0 or an empty member id. The broker does not check these
    values, so a zombie process would commit.
    """
    if epoch.generation < 0 or not epoch.member_id:
        raise GroupMetadataError(
            f"Cannot commit for group {group_id!r} with generation {epoch.generation} and member id "
            f"{epoch.member_id!r}: the broker would not check them. The epoch must be captured at assignment."
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
