"""`sway doctor`: diagnosis of a configuration and a cluster, with advice.

Without I/O: findings, topics, keys, conflicts, dtypes, cpu. With I/O: sample, state_folder, ports, speed, checks.
"""
