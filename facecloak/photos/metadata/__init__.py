"""What a changed photo's file may still say: no other picture of the face, and nothing that the change made false.

One rule for all containers. What can hold a picture of the face is drawn anew from the changed photo or dropped, what
became false is dropped or put right, and everything else stays byte for byte. docs/api.md has the table.
"""

from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.report import Report

__all__ = ["ThumbnailPainter", "Report"]
