"""Transactions, offsets, topics, recovery and the stores of partitions: confluent-kafka and RocksDB, without Faust."""
