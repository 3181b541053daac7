"""Event logs of any columns into a topic at full speed: whole columns are converted, checked and encoded at once.

files     which files, in which order, and where in them to start
mapping   which column or value each field of a record is read from
batches   rows of a file as batches of columns
convert   a batch as Arrow columns of the record's types, if everything in it fits
slowly    a batch row by row: what is said of a row that does not fit, and what fits nevertheless
importer  the loop over it all
"""
