"""Files of rows: Parquet, CSV and JSONL of any size, read row by row or as batches of columns.

opening   a file by its extension
rows      what every format offers
batches   batches of bounded size
text      CSV and JSONL, plain or compressed
parquet   Parquet; the only module that needs Arrow
"""
