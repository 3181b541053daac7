"""Avro contracts: schemas (*.avsc), typed records, wire codecs, the state codec and content checks.

Imports no other package of this repository; every other package may import this one. docs/schemas.md is
the guide for producers and consumers.
"""
