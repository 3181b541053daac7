"""`sway doctor`: what is wrong with a configuration and a cluster, and what to do about it.

Pure: findings, topics, keys, conflicts, dtypes, cpu. Shell: sample, state_folder, ports, speed, checks.
"""
