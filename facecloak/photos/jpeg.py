"""JPEG in, JPEG out: same quantization tables, chroma subsampling and scan script, metadata segments byte for byte.

Taken: 8-bit baseline, extended and progressive Huffman JPEGs, gray, YCbCr or RGB. Refused: CMYK and YCCK (adding RGB
levels to inks without the profile's transform would be a guess), 12-bit, arithmetic, lossless, hierarchical.

A file that lacks no more than its end marker, or has a few stray bytes between segments, is taken, as viewers take it.

What changes besides the pixels: sampling factors that the encoder cannot write (4:4:0, 4:1:1) become the next finer
ones, whatever follows the picture's end is dropped (previews, gain maps, motion: nobody was cloaked there), and the
segments are cleaned as :mod:`facecloak.photos.metadata` says.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from facecloak.photos.decoding import DecoderFailed, run_decoder
from facecloak.photos.errors import PhotoDamaged, PhotoTruncated
from facecloak.photos.grayscale import gray_to_rgb
from facecloak.photos.jpeg_encoding import JpegEncoding, encode_jpeg, encoding_of
from facecloak.photos.jpeg_structure import APP1, JpegStructure, Segment, mended, metadata_end, read_structure
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.metadata.jpeg_segments import cleaned_segments, report_trailer
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.report import Report
from facecloak.photos.orientation import orientation_of
from facecloak.photos.photo import Decoded, Encoded, PhotoFormat

SIGNATURE = re.compile(rb"\xff\xd8\xff")

_EXIF = b"Exif\0\0"
# libjpeg's messages that mean lost picture data. Extra bytes in front of EOI are common in camera files and lose
# nothing.
_LOSSES = re.compile(r"Corrupt JPEG data(?!: \d+ extraneous bytes before marker 0xd9)|Premature end")


@dataclass(frozen=True)
class JpegFile:
    """How a JPEG was encoded, and what it holds beside its picture.

    Attributes:
        metadata: APPn and COM segments.
        orientation: EXIF orientation 1..8.
        trailer: what follows the picture, which is dropped.
    """

    encoding: JpegEncoding
    metadata: tuple[Segment, ...]
    orientation: int
    trailer: bytes
    format: PhotoFormat = PhotoFormat.JPEG

    @property
    def stored_u16(self) -> None:
        """None: 8 bits."""
        return None

    def encode(self, stored: np.ndarray) -> Encoded:
        """See :class:`facecloak.photos.photo.Encoding`."""
        report = Report()
        painter = ThumbnailPainter(lambda _: stored, orientation=self.orientation)
        kept = cleaned_segments(self.metadata, painter, report)
        report_trailer(self.trailer, report)
        encoded = encode_jpeg(stored, self.encoding)
        return Encoded(b"".join([encoded[:2], *kept, encoded[metadata_end(encoded) :]]), report.names)


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
        ),
    )


def jpeg_orientation(structure: JpegStructure) -> int:
    """The EXIF orientation 1..8, 1 where none is stated."""
    exif = next((s.payload for s in structure.metadata if s.marker == APP1 and s.payload.startswith(_EXIF)), b"")
    return orientation_of(exif)


def decode_rgb(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8."""
    return _decode_pixels(data, colorspace="RGB")


def decode_gray(data: bytes) -> np.ndarray:
    """(H, W, 1) uint8."""
    return _decode_pixels(data, colorspace="GRAY")


def _decode_pixels(data: bytes, *, colorspace: str) -> np.ndarray:
    try:
        return simplejpeg.decode_jpeg(data, colorspace)
    except ValueError as error:
        fault = str(error)
    if _LOSSES.search(fault):
        if fault.startswith("Premature end of JPEG file"):
            raise PhotoTruncated("The JPEG ends before its picture does.")
        raise PhotoDamaged("The JPEG's picture data is damaged.")
    try:
        if "subsampling" in fault:  # TurboJPEG takes only the usual sampling factors, libjpeg (in Pillow) takes all
            return _decode_with_pillow(data, gray=colorspace == "GRAY")
        return simplejpeg.decode_jpeg(data, colorspace, strict=False)
    except (ValueError, OSError) as error:
        raise PhotoDamaged("The JPEG cannot be decoded.") from error


def _decode_with_pillow(data: bytes, *, gray: bool) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        pixels = np.array(image.convert("L" if gray else "RGB"))
    return pixels[:, :, None] if gray else pixels
