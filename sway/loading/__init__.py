"""Loads files of events or outcomes into Kafka: read rows, make records, send them."""
