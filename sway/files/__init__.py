"""Files of rows: Parquet, CSV and JSONL."""
