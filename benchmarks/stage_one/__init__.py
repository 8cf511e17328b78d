"""What each way of making variations adds to protection: `python -m benchmarks.stage_one`."""
