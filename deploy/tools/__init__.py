"""What keeps deploy/ true: locks, rendered charts, checks, and pages written from the code."""
