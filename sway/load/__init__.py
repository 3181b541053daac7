"""Bulk import of event logs with any columns; whole columns are converted, validated and encoded at once.

files        the files to import, their order, and the position to start at
mapping      the column or constant that each field of a record is read from
batches      the rows of a file, as batches of columns
convert      the fast path: a batch as Arrow columns of the record's types, if every row is valid
row_by_row   the slow path: the records of a batch and the error of each invalid row
importer     the loop from files to the topic
"""
