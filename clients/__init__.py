"""Kafka client helpers shared by workers, trainers and commands. Independent of schemas, models and settings."""
