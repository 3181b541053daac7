"""Replay: a historical range of the inputs, scored again through the live path's own core.

    ranges.py      which offsets were asked for                         pure
    plan.py        the plan, and how far each partition is              pure; notes.py puts both into Kafka's words
    known_order.py, ordering.py   events and outcomes in the order in which they were read       pure
    streams.py     a topic partition, read ahead
    state.py       tables over RocksDB, without Faust
    partition.py   one partition: warm up, recall what is done, score, run out
    outputs.py, parquet.py, recorded.py   where scores go, and reading one's own back
    journal.py     plan and progress in Kafka: the offsets of the replay's own group
    membership.py  which partitions are this process's
    runner.py      partitions, the micro-batcher and commits together

What a replay promises and how: docs/replay.md.
"""
