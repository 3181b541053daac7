"""Records, units and layers: what is read, and what becomes visible together. Imports no client of Kafka, RocksDB or Faust."""
