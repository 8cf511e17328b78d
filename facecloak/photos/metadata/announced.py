"""What stands behind a photo, and so what its metadata may announce."""

from __future__ import annotations

from dataclasses import dataclass

_CONTAINER = "http://ns.google.com/photos/1.0/container/"
_ITEM = "http://ns.google.com/photos/1.0/container/item/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


@dataclass(frozen=True)
class Announced:
    """Companions of a photo that are kept.

    Attributes:
        gain_map_bytes: of its gain map; 0 for none.
        video_bytes: from its video's first byte to the file's end; 0 for none.
        indexed: whether a multi-picture index (MPF) lists the gain map.
        is_map: whether the file is itself a gain map, which says what its levels mean.
    """

    gain_map_bytes: int = 0
    video_bytes: int = 0
    indexed: bool = False
    is_map: bool = False

    @property
    def has_gain_map(self) -> bool:
        return self.gain_map_bytes > 0 or self.is_map

    def directory(self) -> bytes:
        """Google's container directory (Ultra HDR 1.0, Motion Photo 1.0) of the photo and what is kept; nothing where
        nothing is."""
        rows = [b'<Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/>']
        for semantic, mime, size in (
            (b"GainMap", b"image/jpeg", self.gain_map_bytes),
            (b"MotionPhoto", b"video/mp4", self.video_bytes),
        ):
            if size:
                rows.append(
                    b'<Container:Item Item:Semantic="%s" Item:Mime="%s" Item:Length="%d"/>' % (semantic, mime, size)
                )
        if len(rows) == 1:
            return b""
        listed = b"".join(b'<rdf:li rdf:parseType="Resource">%s</rdf:li>' % row for row in rows)
        spaces = f'xmlns:Container="{_CONTAINER}" xmlns:Item="{_ITEM}" xmlns:rdf="{_RDF}"'.encode()
        return b"<Container:Directory %s><rdf:Seq>%s</rdf:Seq></Container:Directory>" % (spaces, listed)


NOTHING = Announced()
"""Nothing stands behind the photo."""
