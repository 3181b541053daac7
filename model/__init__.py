"""The model: behaviour text, token ids, the networks, micro-batching and the model registry.

Of this repository's packages it may import only schemas.
"""
