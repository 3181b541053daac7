"""Load files of events or outcomes into Kafka: read rows, convert them to records, send the records."""
