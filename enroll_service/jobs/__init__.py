"""Enrollments as jobs: requests, a fair queue, subscribers, idempotency, and the threads that do the work."""
