"""Tests of stream.exactly_once alone: a small program on it, with faults and an audit."""
