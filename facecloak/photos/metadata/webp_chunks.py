"""A WebP's metadata chunks (RFC 9649, 2.7.1.4 and 2.7.1.5), each by its kind."""

from __future__ import annotations

from facecloak.photos.metadata.embedded import holds_picture
from facecloak.photos.metadata.exif import cleaned_exif
from facecloak.photos.metadata.opaque import may_hide_picture
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.report import Report
from facecloak.photos.metadata.xmp import cleaned_xmp

_EXIF_PREFIX = b"Exif\0\0"


def cleaned_chunk(kind: bytes, payload: bytes, painter: ThumbnailPainter, report: Report) -> bytes | None:
    """What to write as the chunk's payload; None where the chunk goes. See :mod:`facecloak.photos.metadata`."""
    if kind == b"ICCP":
        if not holds_picture(payload):
            return payload
        report.dropped("icc")
        return None
    if kind == b"EXIF":
        # The standard has no prefix there; many writers have.
        prefix = _EXIF_PREFIX if payload.startswith(_EXIF_PREFIX) else b""
        return prefix + cleaned_exif(payload[len(prefix) :], painter, report)
    if kind == b"XMP ":
        return cleaned_xmp(payload, report).packet
    if kind == b"C2PA":
        report.dropped("c2pa")
        return None
    if may_hide_picture(payload):
        report.dropped(f"webp.{kind.decode().strip()}" if kind.strip().isalnum() else "webp.unknown")
        return None
    return payload
