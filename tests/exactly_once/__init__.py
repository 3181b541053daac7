"""The mechanism alone: a program of its own on stream.exactly_once, broken on purpose and audited."""
