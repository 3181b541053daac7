"""What `sway explain` is made of: a scored event, the words of its past, what each behaviour did, how it is shown.

Read from Kafka alone, so that running workers are not touched.
"""
