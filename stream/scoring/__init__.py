"""Scoring logic, pure: the processor, user windows, texts and the label join. Imports no client, store or framework."""
