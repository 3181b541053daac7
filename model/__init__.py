"""The model: behaviour text, token ids, the two-headed network, micro-batches and the registry.

Imports schemas at most, and nothing else of ours.
"""
