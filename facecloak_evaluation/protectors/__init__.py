"""What is measured: our pipeline in process, running services, or the published algorithm."""
