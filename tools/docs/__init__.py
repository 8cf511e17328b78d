"""Generated tables of the documentation."""
