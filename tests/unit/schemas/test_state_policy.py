"""The previous release can read the state of this one, so a rolling upgrade can be reverted."""

from typing import Any

import pytest

from schemas.contracts import current, fingerprint, published
from schemas.state_records import DueList, Estimate, ItemRate, JoinClock, PendingLabel, Signals, Window

PREVIOUS_RELEASE = {
    Window: 1,
    PendingLabel: 1,
    Signals: 1,
    DueList: 1,
    JoinClock: 1,
    Estimate: 1,
    ItemRate: 1,
}
"""The newest version of each state record that the previous release reads; raised after each release.

A record type missing here is new: an older worker does not read its keys (docs/schemas.md, "State and upgrades").
"""


@pytest.mark.parametrize("kind", PREVIOUS_RELEASE, ids=lambda kind: kind.__name__)
def test_the_previous_release_reads_the_state_schemas(kind: type[Any]) -> None:
    known = {fingerprint(schema) for schema in published(kind)[: PREVIOUS_RELEASE[kind]]}
    assert fingerprint(current(kind)) in known, (
        f"{kind.__name__}: workers of the previous release cannot read this schema and exit. Put new fields into a "
        "record of a new type, under its own key."
    )
