"""Hands accumulated examples over to a trainer: every example is in exactly one request."""
