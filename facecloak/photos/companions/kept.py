"""Which of the companions of a photo are kept in its changed file, and what announces them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facecloak.photos.companions.gain_map import is_gain_map, smoothed
from facecloak.photos.companions.trailer import Trailer, read_trailer, sef_trailer
from facecloak.photos.jpeg_structure import Segment, read_structure
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.metadata.announced import NOTHING, Announced
from facecloak.photos.metadata.jpeg_segments import cleaned_segments, report_trailer
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.report import Report
from facecloak.photos.photo import Rectangle


@dataclass(frozen=True)
class KeptCompanions:
    """What stands behind the changed picture, and what of the metadata announces it truly."""

    data: bytes = b""
    announced: Announced = NOTHING


def kept_companions(
    trailer: bytes,
    segments: Sequence[Segment],
    faces: Sequence[Rectangle],
    *,
    size: tuple[int, int],
    orientation: int,
    limits: PhotoLimits,
    report: Report,
) -> KeptCompanions:
    """The gain map, smoothed over the faces, and by ``limits.keep_motion`` the video; all else goes and is named.

    Args:
        trailer: what stands behind the picture.
        segments: the photo's own metadata.
        faces: px of the photo as stored.
        size: the photo's stored width and height, px.
    """
    if not trailer:
        return KeptCompanions()
    found = read_trailer(trailer, limits)
    gain_map = _gain_map(found, faces, size=size, orientation=orientation, limits=limits, report=report)
    motion = _motion(found, report) if limits.keep_motion else b""
    if gain_map or motion:
        if len(found.pictures) > bool(gain_map):
            report.dropped("trailer.pictures")
        if found.blocks and any(not block.is_motion for block in found.blocks):
            report.dropped("trailer.samsung")
        if found.has_video and not motion:
            report.dropped("trailer.video")
    else:
        report_trailer(trailer, report)
    has_index = any(segment.payload.startswith(b"MPF\0") for segment in segments)
    announced = Announced(gain_map_bytes=len(gain_map), video_bytes=len(motion), indexed=has_index and bool(gain_map))
    return KeptCompanions(gain_map + motion, announced)


def _gain_map(
    found: Trailer,
    faces: Sequence[Rectangle],
    *,
    size: tuple[int, int],
    orientation: int,
    limits: PhotoLimits,
    report: Report,
) -> bytes:
    """The photo's gain map, changed, with what it says of itself; nothing where there is none, or it cannot stay
    true."""
    for picture in found.pictures:
        structure = read_structure(picture, limits)
        if not is_gain_map(structure):
            continue
        changed = smoothed(picture, faces, size=size, orientation=orientation, limits=limits)
        if changed is None:
            report.dropped("gain_map")
            return b""
        report.redrawn("gain_map")
        return _with_own_metadata(*changed, structure.metadata, orientation=orientation)
    return b""


def _with_own_metadata(encoded: bytes, shown: np.ndarray, segments: Sequence[Segment], *, orientation: int) -> bytes:
    """A gain map with what it says of itself."""
    painter = ThumbnailPainter(lambda _: shown, orientation=orientation)
    kept = cleaned_segments(segments, painter, Report(), announced=Announced(is_map=True))
    return b"".join([encoded[:2], *kept, encoded[2:]])


def _motion(found: Trailer, report: Report) -> bytes:
    """The video as it came, in Samsung's blocks where it was in these."""
    blocks = [block for block in found.blocks if block.is_motion]
    if found.video is None and not blocks:
        return b""
    report.kept("trailer.video")
    return (found.video or b"") + (sef_trailer(blocks) if blocks else b"")
