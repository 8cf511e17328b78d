"""A real Triton server on this machine, for development and tests: install, start, watch, stop."""
