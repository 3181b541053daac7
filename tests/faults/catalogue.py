"""All cases, in the order of the table."""

from tests.faults import kills
from tests.faults.case import Case

CASES: tuple[Case, ...] = (
    kills.sigkill,
    kills.sigkill_after_commit,
)
