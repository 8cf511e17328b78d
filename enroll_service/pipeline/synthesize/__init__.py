"""Stage one: varied pictures of the person from one photo."""
