"""Texts of docs/metrics.md beyond a metric's help text, by Prometheus name."""

MEANINGS = {
    "sway_events_total": "Events committed, dead letters included",
    "sway_outcomes_total": (
        "Outcomes by result: `joined` to their event, `parked` until the event arrives, `repeated` "
        "(the first one counts), "
        "`late`; and entries that fell due: `without_event` (an outcome), `unlabeled` (an event)"
    ),
    "sway_labels_total": "Examples written, by label source: `outcome`, `attribution`, `expiry`",
    "sway_labels_without_score_total": "Labels of events whose text failed to score (`scoring_failed`)",
    "sway_ticks_total": "Ticks read: records that workers write so that labels of idle partitions fall due",
    "sway_live_auc": "AUC of y_hat over the newest 2,000 labelled scores of a version",
    "sway_live_mse": "Mean squared error of y_hat, same scores",
    "sway_live_log_loss": "Log-loss of the clipped y_hat in nats, same scores",
    "sway_live_calibration_error": "Expected calibration error, same scores",
    "sway_live_positive_rate": "Share of positive labels, same scores",
    "sway_live_examples": (
        "Examples written since the worker started. The `sway_live_…` metrics cover eight versions, the one in use "
        "included. Where labels fall due, a new version's first figures follow one horizon and grace after its swap"
    ),
    "sway_lag_records": "Stable offsets not fetched yet; transaction markers count",
    "sway_lag_high_watermark_records": (
        "Offsets not fetched yet up to the high watermark, open transactions included"
    ),
    "sway_open_transaction_seconds": (
        "How long this worker has seen the oldest open transaction of an input; 0 without one"
    ),
    "sway_forward_again_total": (
        "Forward passes beyond the first of a micro-batch: halves after out-of-memory or a failing text"
    ),
    "sway_offset_resets": "Partitions that resumed elsewhere than at their committed offset, by setting",
    "sway_lost_records": "Offsets skipped by these resets, where known",
    "sway_recovered_records": "Changelog records read",
    "sway_recovery_records_to_go": "Changelog offsets still to read, an upper bound for records",
    "sway_model": "1 for the model in use",
    "sway_text_vectors": "Texts whose vectors are cached (late reading)",
    "sway_text_vectors_asked": (
        "Texts of batches whose vector was cached (`yes`) or had to be computed (`no`)"
    ),
    "sway_model_swap_seconds": (
        "From seeing a promotion to the model being loaded and warm, its text vectors included "
        "(late reading, 30 s at most)"
    ),
    "sway_champion_alarm": "1 while the champion is not in use or the registry cannot be read",
    "sway_handover_leader": "1 while this worker hands examples over",
    "sway_handover_examples_waiting": "Examples the leader has counted and not handed over",
    "sway_trainer_requests_total": (
        "Finished requests: `promoted`, `rejected`, `given_up` (rejected after too many failures); "
        "and `undecodable` records"
    ),
    "sway_trainer_last_success_timestamp_seconds": (
        "When a request was last promoted or rejected on its merits, seconds since 1970; 0 before the first"
    ),
    "sway_trainer_retries_total": "Failed tries of a request, outages included",
    "sway_trainer_owner": "1 for the trainer that takes requests, 0 on standby",
}
"""Meanings that replace the help text where it is too short for an operator."""

WATCH = {
    "sway_scores_total": "events = scores + dead letters of `sway.events`",
    "sway_dead_letters_total": "any rise: [dead letters](operations.md#dead-letters)",
    "sway_outcomes_total": (
        "many `without_event` or `late`: outcomes arrive too late or under other ids ([labels](labels.md))"
    ),
    "sway_labels_total": "none while outcomes arrive",
    "sway_ticks_total": "some an hour are usual; none in an idle partition while labels wait: see the log",
    "sway_labels_without_score_total": "`scoring_failed` in [dead letters](operations.md#dead-letters)",
    "sway_live_auc": "a fall after a swap: roll back",
    "sway_live_positive_rate": "a jump: the outcomes or their producer changed",
    "sway_lag_records": "rising: add workers, or use a faster dtype",
    "sway_lag_high_watermark_records": "far above `sway_lag_records` for minutes: "
    "[a transaction hangs](operations.md#a-transaction-hangs)",
    "sway_open_transaction_seconds": "above the producer's `transaction.timeout.ms`: "
    "[a transaction hangs](operations.md#a-transaction-hangs)",
    "sway_held_partition": "any: [rolling upgrade](operations.md#rolling-upgrade)",
    "sway_in_flight_records": "at its limit: the model or the broker is the bottleneck",
    "sway_ready": "0 for minutes",
    "sway_latency_seconds": "the latency you promise to readers",
    "sway_queue_seconds": "rising with lag: the model is the bottleneck",
    "sway_forward_again_total": "rising: lower `SWAY_MODEL__MAX_BATCH_TOKENS`, or see `scoring_failed`",
    "sway_batch_fill": "near 1 under lag is good; low when idle is normal",
    "sway_commit_seconds": "seconds: the broker or the disk is slow",
    "sway_epochs": "rising: the group does not settle",
    "sway_fenced_units": "rising: sessions expire ([failures](operations.md#when-something-fails))",
    "sway_offset_resets": "any",
    "sway_lost_records": "any",
    "sway_recovery_records_to_go": "constant for minutes: recovery stands still",
    "sway_model": "workers with different versions",
    "sway_text_vectors_asked": "many `no` long after a start: raise `SWAY_MODEL__CACHED_VECTORS`",
    "sway_champion_alarm": "1 for longer than a swap takes: [a new champion](operations.md#a-new-champion)",
    "sway_champion_refused_total": "any rise",
    "sway_handover_leader": "a sum over all workers other than 1 for minutes: see the log",
    "sway_handovers_total": "none while examples arrive",
    "sway_trainer_requests_total": "`given_up`, `undecodable`: any rise",
    "sway_trainer_last_success_timestamp_seconds": (
        "older than `SWAY_HANDOVER__MAX_INTERVAL_S` plus the time of a training, while there are examples"
    ),
    "sway_trainer_retries_total": "any rise: see the log",
    "sway_trainer_phase_age_seconds": "above what the phase usually takes, except `waiting`",
    "sway_trainer_owner": "a sum over all trainers other than 1 for minutes",
    "sway_trainer_ready": "0 for minutes",
}
"""The values that an operator watches for."""
