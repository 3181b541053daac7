"""Quality of scores on real data, against baselines: `python -m benchmarks.quality` or `make quality`."""
