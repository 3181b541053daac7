"""Tests against a real broker, which they start themselves."""
