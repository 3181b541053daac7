"""The Avro contracts: schemas (*.avsc), typed records, wire codecs, state codec, checks of contents.

Imports nothing of ours: every other package may stand on this one. The page for people who connect
services is docs/schemas.md.
"""
