"""Follows a topic and shows its records."""
