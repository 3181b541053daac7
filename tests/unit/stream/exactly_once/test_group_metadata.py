"""Fencing depends on these bytes. They are compared with the metadata of a confluent Consumer."""

import pytest
from confluent_kafka import Consumer

from stream.exactly_once.units.errors import GroupMetadataError
from stream.exactly_once.units.group_metadata import group_metadata
from stream.exactly_once.units.records import Epoch


@pytest.mark.parametrize("instance", [None, "pod-3"])
def test_the_layout_matches_librdkafka(instance: str | None) -> None:
    extra = {} if instance is None else {"group.instance.id": instance}
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "grüppe", "log_level": 0, **extra})
    theirs = consumer.consumer_group_metadata()  # not joined yet: generation -1, no member id
    consumer.close()
    ours = group_metadata("grüppe", Epoch(7, "member-1"), instance)
    generation_at = len(b"CGMDv2:")
    group_end = generation_at + 4 + len("grüppe".encode()) + 1
    assert ours[:generation_at] == theirs[:generation_at]
    assert ours[generation_at : generation_at + 4] == (7).to_bytes(4, "little")
    assert theirs[generation_at : generation_at + 4] == (-1).to_bytes(4, "little", signed=True)
    assert ours[generation_at + 4 : group_end] == theirs[generation_at + 4 : group_end]
    assert ours[group_end:].removeprefix(b"member-1") == theirs[group_end:]


@pytest.mark.parametrize("epoch", [Epoch(-1, "member"), Epoch(3, ""), Epoch(-1, "")])
def test_metadata_that_the_broker_would_not_check_is_refused(epoch: Epoch) -> None:
    with pytest.raises(GroupMetadataError, match="captured at assignment"):
        group_metadata("group", epoch)
