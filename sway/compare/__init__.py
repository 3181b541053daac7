"""Comparison of two runs of scores, joined by source offset, with the readers of runs and labels."""
