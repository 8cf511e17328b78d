"""JPEG in, JPEG out: same quantization tables, chroma subsampling and scan script, metadata segments byte for byte.

Taken: 8-bit baseline, extended and progressive Huffman JPEGs, gray, YCbCr or RGB. Refused: CMYK and YCCK (adding RGB
levels to inks without the profile's transform would be a guess), 12-bit, arithmetic, lossless, hierarchical.

A file that lacks no more than its end marker, or has a few stray bytes between segments, is taken, as viewers take it.

What changes besides the pixels: sampling factors that the encoder cannot write (4:4:0, 4:1:1) become the next finer
ones, what follows the picture's end is dropped but for a gain map (:mod:`facecloak.photos.companions`: nobody was
cloaked there), and the segments are cleaned as :mod:`facecloak.photos.metadata` says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facecloak.photos.companions import kept_companions
from facecloak.photos.decoding import DecoderFailed, run_decoder
from facecloak.photos.errors import PhotoDamaged, PhotoTruncated
from facecloak.photos.grayscale import gray_to_rgb
from facecloak.photos.jpeg_decoding import decode_gray, decode_rgb
from facecloak.photos.jpeg_encoding import JpegEncoding, encode_jpeg, encoding_of
from facecloak.photos.jpeg_structure import APP1, JpegStructure, Segment, mended, metadata_end, read_structure
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.metadata.jpeg_segments import cleaned_segments
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.report import Report
from facecloak.photos.multi_picture import with_true_places
from facecloak.photos.orientation import orientation_of
from facecloak.photos.photo import Decoded, Encoded, PhotoFormat, Rectangle

SIGNATURE = re.compile(rb"\xff\xd8\xff")

_EXIF = b"Exif\0\0"


@dataclass(frozen=True)
class JpegFile:
    """How a JPEG was encoded, and what it holds beside its picture.

    Attributes:
        metadata: APPn and COM segments.
        orientation: EXIF orientation 1..8.
        trailer: what follows the picture; see :mod:`facecloak.photos.companions`.
        limits: say what of it is kept.
    """

    encoding: JpegEncoding
    metadata: tuple[Segment, ...]
    orientation: int
    trailer: bytes
    limits: PhotoLimits
    format: PhotoFormat = PhotoFormat.JPEG

    @property
    def stored_u16(self) -> None:
        """None: 8 bits."""
        return None

    def encode(self, stored: np.ndarray, *, faces: Sequence[Rectangle]) -> Encoded:
        """See :class:`facecloak.photos.photo.Encoding`."""
        report = Report()
        painter = ThumbnailPainter(lambda _: stored, orientation=self.orientation)
        beside = kept_companions(
            self.trailer, self.metadata, faces, size=(stored.shape[1], stored.shape[0]), orientation=self.orientation,
            limits=self.limits, report=report,
        )  # fmt: skip
        kept = cleaned_segments(self.metadata, painter, report, announced=beside.announced)
        encoded = encode_jpeg(stored, self.encoding)
        data = b"".join([encoded[:2], *kept, encoded[metadata_end(encoded) :], beside.data])
        return Encoded(with_true_places(data), report.names)


def decode(data: bytes, limits: PhotoLimits) -> Decoded:
    """Decode a JPEG; raises the refusals of :func:`facecloak.photos.decode_photo`."""
    structure = read_structure(data, limits)
    gray = len(structure.components) == 1
    try:
        pixels = run_decoder(
            decode_gray if gray else decode_rgb, mended(data, structure),
            pixels=structure.width * structure.height, sample_bytes=3, memory_bytes=24,
        )  # fmt: skip
    except DecoderFailed as error:
        raise PhotoDamaged("The JPEG cannot be decoded.") from error
    except PhotoDamaged as error:
        if structure.has_end:
            raise
        raise PhotoTruncated("The JPEG ends before its picture does.") from error
    if pixels.shape[:2] != (structure.height, structure.width):
        raise PhotoDamaged("The JPEG's size is not what its header states.")
    orientation = jpeg_orientation(structure)
    return Decoded(
        stored_srgb_u8=gray_to_rgb(pixels[:, :, 0]) if gray else pixels,
        orientation=orientation,
        encoding=JpegFile(
            encoding=encoding_of(structure),
            metadata=tuple(structure.metadata),
            orientation=orientation,
            trailer=data[structure.end :] if structure.has_end else b"",
            limits=limits,
        ),
    )


def jpeg_orientation(structure: JpegStructure) -> int:
    """The EXIF orientation 1..8, 1 where none is stated."""
    exif = next((s.payload for s in structure.metadata if s.marker == APP1 and s.payload.startswith(_EXIF)), b"")
    return orientation_of(exif)
