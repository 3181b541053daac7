"""Values of every published schema version, as bytes: what was written once must stay readable.

<Record>.v<n>.<format>.bin   the value as it was written
<Record>.v<n>.json           what it must be read as; for Confluent's format also the schema id

A new version is added with `python -m tests.golden.make`; what is there is never written again.
"""
