"""What stands behind a JPEG's own picture: a gain map, a video, makers' data; which of it is kept, and how."""

from facecloak.photos.companions.kept import KeptCompanions, kept_companions

__all__ = ["KeptCompanions", "kept_companions"]
