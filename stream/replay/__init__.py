"""Replay: scores a historical range of the inputs again with the live path's own core.

    ranges.py      converts the requested range to offsets              pure
    plan.py        the plan and the progress of each partition          pure; notes.py encodes both as commit metadata
    known_order.py, ordering.py   restore the live reading order of events and outcomes        pure
    streams.py     reads a topic partition with prefetching
    state.py       tables over RocksDB, without Faust
    steps.py, partition.py   one partition: warm up, recall published scores, score, run out
    batches.py, committer.py, retention.py   batches, their commit, and users with an incomplete history
    opening.py     takes over a partition and resumes it
    outputs.py, parquet.py, recorded.py   write scores, and read published scores back
    journal.py     plan and progress in Kafka: the committed offsets of the replay's own group
    kafka_errors.py   converts Kafka client exceptions
    folder.py      the machine's folder: worker locks and the machine's name
    membership.py  the partitions assigned to this process
    runner.py      runs partitions, micro-batcher and commits
    planning.py, sampling.py   make the plan, and estimate its duration
    session.py     creates all components from the settings

docs/replay.md describes the guarantees and how they are met.
"""
