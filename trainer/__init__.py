"""The trainer: datasets of labelled texts, heads in closed form, fine-tuning, the first model.

Imports model and schemas, and nothing else of ours.
"""
