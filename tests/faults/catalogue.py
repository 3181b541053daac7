"""All cases, in the order of the table."""

from tests.faults import (
    brokers,
    kills,
    ownership,
    retention,
    scoring,
    state,
    trainer,
    transactions,
)
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
    state.folder_deleted,
    state.files_corrupted,
    state.changelog_compacted,
    state.disk_full,
    scoring.poison_text,
    scoring.out_of_memory,
    retention.retention_passed,
    retention.made_again,
    ownership.same_state_folder,
    ownership.two_leaders,
    trainer.killed_at_each_step,
    brokers.one_broker_restarted,
    brokers.one_broker_away,
    brokers.one_of_three,
    brokers.transaction_coordinator,
    brokers.group_coordinator,
)
