"""Measurements of speed, written as JSON into out/bench: `python -m benchmarks`."""
