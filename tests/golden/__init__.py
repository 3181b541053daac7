"""Encoded values of every published schema version, which must stay readable.

<Record>.v<n>.<format>.bin   the encoded value
<Record>.v<n>.json           the expected record, and the schema id of Confluent's format

`python -m tests.golden.make` adds a new version and never rewrites an existing one.
"""
