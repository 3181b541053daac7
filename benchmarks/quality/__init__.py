"""How good scores are on real data, beside baselines: `python -m benchmarks.quality`, or `make quality`."""
