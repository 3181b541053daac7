"""Transactions, offsets, topics, recovery and partition stores on confluent-kafka and RocksDB, without Faust."""
