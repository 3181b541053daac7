"""The partition of a key."""

from aiokafka.partitioner import murmur2

# Java clears the sign bit of the hash.
_POSITIVE = 0x7FFFFFFF


def murmur2_partition(key: bytes, partitions: int) -> int:
    """Return the partition of a key under the murmur2 partitioners of Java, Faust and librdkafka."""
    return int(murmur2(key) & _POSITIVE) % partitions
