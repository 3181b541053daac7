"""Tells state that a newer version of Sway has written from state that is broken. Pure."""

from typing import Any

from schemas.contracts import all_known, fingerprint, published
from schemas.wire import SINGLE_OBJECT_MAGIC, header_of
from stream.exactly_once.units.errors import StateFormatError


def newer_format(raw: bytes, kinds: tuple[type[Any], ...]) -> StateFormatError | None:
    """Return the error to raise for a value in a schema that this version does not know; None if it knows it.

    kinds: the records that the table holds.
    """
    header = header_of(raw)
    if header is None or not header.startswith(SINGLE_OBJECT_MAGIC):
        return None
    came = header[len(SINGLE_OBJECT_MAGIC) :]
    if came in all_known():
        return None
    known = [
        f"{kind.__name__} {number} ({fingerprint(schema).hex()})"
        for kind in kinds
        for number, schema in enumerate(published(kind), 1)
    ]
    return StateFormatError(
        f"a value has the schema fingerprint {came.hex()}, and this version of Sway knows {', '.join(known)}. A newer "
        "version has written it. Upgrade this worker, or stop it, so that newer workers take its partitions; nothing "
        "of the state was changed or deleted."
    )
