"""All cases, in the order of the table."""

from tests.faults import kills, scoring, transactions
from tests.faults.case import Case

CASES: tuple[Case, ...] = (
    kills.sigkill,
    kills.sigkill_around_a_commit,
    kills.rolling_restart,
    kills.members_come_and_go,
    kills.stopped_past_its_session,
    kills.stopped_in_a_commit,
    transactions.times_out,
    transactions.aborts,
    scoring.poison_text,
    scoring.out_of_memory,
)
