"""Compares two runs of scores, joined by source offset: the core on numpy and Arrow, and what reads runs for it."""
