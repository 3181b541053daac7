"""Distinguishes state written by a newer version of Sway from corrupt state."""

from typing import Any

from schemas.contracts import all_known, fingerprint, published
from schemas.wire import SINGLE_OBJECT_MAGIC, header_of
from stream.exactly_once.units.errors import StateFormatError


def newer_format(raw: bytes, kinds: tuple[type[Any], ...]) -> StateFormatError | None:
    """Return the error for a value whose schema is unknown to this version; None if the schema is known.

    kinds: the record types of the table.
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
        f"a value has the schema fingerprint {came.hex()}, but this version of Sway knows {', '.join(known)}. The "
        "value was written by a newer version. Upgrade this worker, or stop it so that newer workers take over its "
        "partitions. The state was not changed."
    )
