"""Records, commit units and state layers. Pure: imports no Kafka client and starts no thread."""
