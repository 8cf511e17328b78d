"""Before stage one: the photos, the one face in each, and whether they qualify."""
