"""A photo's file in pieces, so that a megabyte that did not change is copied once, when the file is put together."""

from __future__ import annotations

from dataclasses import dataclass

from facecloak.photos.multi_picture import with_true_places


@dataclass(frozen=True, eq=False, repr=False)
class Pieces:
    """What comes before the place for a tag (``head``), and the picture's own data and all that follows.

    Attributes:
        dropped: what of the original's metadata is not there as it was (:class:`facecloak.photos.metadata.Report`).
    """

    head: tuple[bytes | memoryview, ...]
    picture: tuple[bytes | memoryview, ...]
    dropped: tuple[str, ...] = ()

    def joined(self, tag: bytes = b"") -> bytes:
        """The file, with ``tag`` in its place."""
        return with_true_places(b"".join([*self.head, tag, *self.picture]))
