"""Hands the examples that have piled up to a trainer: every example in exactly one request."""
