"""Creates codecs from the settings."""

from typing import TypeVar

from schemas.records import Record
from schemas.resolvers import LocalResolver, Resolver
from schemas.wire import Codec
from stream.settings import WireSettings

R = TypeVar("R", bound=Record)


def resolver_for(wire: WireSettings) -> Resolver:
    """Return the resolver of writer schemas; includes the Schema Registry if one is configured."""
    if wire.registry_url is None:
        return LocalResolver()
    from schemas import registry  # importing it takes half a second

    return registry.RegistryResolver(registry.connect(wire.registry_url))


def codec_for(
    record_type: type[R], topic: str, wire: WireSettings, resolver: Resolver | None = None
) -> Codec[R]:
    """Return the codec of a topic's values. Raises ContractError if the settings are inconsistent."""
    return Codec(
        record_type,
        resolver=resolver or resolver_for(wire),
        write=wire.format,
        subject=f"{topic}-value",
        max_record_bytes=wire.max_record_bytes,
    )
