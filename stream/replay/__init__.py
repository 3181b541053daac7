"""Replay: a historical range of the inputs, scored again through the live path's own core.

    ranges.py      which offsets were asked for                         pure
    plan.py        the plan, and how far each partition is              pure; notes.py puts both into Kafka's words
    known_order.py, ordering.py   events and outcomes in the order in which they were read       pure
    streams.py     a topic partition, read ahead
    state.py       tables over RocksDB, without Faust
    steps.py, partition.py   one partition: warm up, recall what is done, score, run out
    batches.py, committer.py, retention.py   its batches, how they are committed, and whose past may be missing
    opening.py     takes a partition over and opens it where it was left
    outputs.py, parquet.py, recorded.py   where scores go, and reading one's own back
    journal.py     plan and progress in Kafka: the offsets of the replay's own group
    kafka_errors.py   what Kafka's clients raise, as ours
    folder.py      the machine's folder: who works in it, and the machine's name
    membership.py  which partitions are this process's
    runner.py      partitions, the micro-batcher and commits together
    planning.py, sampling.py   makes the plan, and measures how long it will take
    session.py     all of it, made from the settings

What a replay promises and how: docs/replay.md.
"""
