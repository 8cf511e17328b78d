"""The enrollment service: turns photos of a user into the user's personal mask."""
