"""Masks: their file format, banks of several masks a user, and the tag that says which mask a photo carries."""
