"""Codecs as the settings want them."""

from typing import TypeVar

from schemas.records import Record
from schemas.resolvers import LocalResolver, Resolver
from schemas.wire import Codec
from stream.settings import WireSettings

R = TypeVar("R", bound=Record)


def resolver_for(wire: WireSettings) -> Resolver:
    """Return who knows writers' schemas: the Schema Registry too, if the settings name one."""
    if wire.registry_url is None:
        return LocalResolver()
    from schemas import registry  # takes half a second to import

    return registry.RegistryResolver(registry.connect(wire.registry_url))


def codec_for(
    record_type: type[R], topic: str, wire: WireSettings, resolver: Resolver | None = None
) -> Codec[R]:
    """Return the codec of a topic's values. Raises ContractError if the settings do not fit."""
    return Codec(
        record_type,
        resolver=resolver or resolver_for(wire),
        write=wire.format,
        subject=f"{topic}-value",
        max_record_bytes=wire.max_record_bytes,
    )
