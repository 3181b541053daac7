"""`sway explain`: find a scored event and its behaviour texts, measure the effect of each behaviour, and show it.

Everything is read from Kafka, so that running workers are not affected.
"""
