"""`sway produce` and `sway import`: rows of files become records of a topic. sway.files reads the files.

Both commands:

options      what their command lines have in common
rows         the values of a row, converted to the fields of a record
targets      events and outcomes: a row's record, checked and encoded
sender       the producer
reporting    invalid rows, progress and the summary

`sway produce` sends row by row, as the rows arrive (loader), at a given rate (pace).

`sway import` sends whole batches, from files with columns of any name:

log_files    the files to import, their order, and the position to start at
mapping      the column or constant that each field of a record is read from
convert      the fast path: a batch as Arrow columns of the record's types, if every row is valid
row_by_row   the slow path: the records of a batch and the error of each invalid row
encode       keys, values and timestamps of a batch
importer     the loop from files to the topic
"""
