"""JPEG in, JPEG out: same quantization tables, chroma subsampling and scan script, metadata segments byte for byte.

Taken: 8-bit baseline, extended and progressive Huffman JPEGs, gray, YCbCr or RGB. Refused: CMYK and YCCK (adding RGB
levels to inks without the profile's transform would be a guess), 12-bit, arithmetic, lossless, hierarchical.

What changes besides the pixels: sampling factors that the encoder cannot write (4:4:0, 4:1:1) become the next finer
ones, and whatever follows the picture's end is dropped, together with the MPF index (APP2, CIPA DC-007) that points
there: those are further pictures of the same scene (previews, gain maps, motion), on which nobody was cloaked.
"""

from __future__ import annotations

import functools
import io
import re
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from facecloak.photos.errors import PhotoDamaged, PhotoTruncated
from facecloak.photos.grayscale import gray_to_rgb, rgb_to_gray
from facecloak.photos.jpeg_structure import APP1, APP2, JpegStructure, Segment, metadata_end, read_structure
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.orientation import orientation_of
from facecloak.photos.photo import Decoded, PhotoFormat

SIGNATURE = re.compile(rb"\xff\xd8\xff")

_EXIF = b"Exif\0\0"
_MPF = b"MPF\0"
# libjpeg's messages that mean lost picture data. Extra bytes in front of EOI are common in camera files and lose
# nothing.
_LOSSES = re.compile(r"Corrupt JPEG data(?!: \d+ extraneous bytes before marker 0xd9)|Premature end")


@dataclass(frozen=True)
class JpegEncoding:
    """How a JPEG was encoded.

    Attributes:
        tables: quantization tables of the components in turn, 64 values in natural order; Cr's only where it differs.
        subsampling: "4:4:4", "4:2:2" or "4:2:0"; None for gray.
        optimized: whether the file has Huffman tables of its own.
        restart_interval: MCUs between restart markers, 0 for none.
        metadata: the segments to keep.
    """

    tables: tuple[tuple[int, ...], ...]
    subsampling: str | None
    rgb: bool
    progressive: bool
    optimized: bool
    restart_interval: int
    metadata: tuple[Segment, ...]
    format: PhotoFormat = PhotoFormat.JPEG

    def encode(self, stored_srgb_u8: np.ndarray) -> bytes:
        """See :class:`facecloak.photos.photo.Encoding`."""
        pixels = rgb_to_gray(stored_srgb_u8) if self.subsampling is None else stored_srgb_u8
        encoded = _encode(pixels, self)
        kept = b"".join(segment.data for segment in self.metadata)
        return encoded[:2] + kept + encoded[metadata_end(encoded) :]


def decode(data: bytes, limits: PhotoLimits) -> Decoded:
    """Decode a JPEG; raises the refusals of :func:`facecloak.photos.decode_photo`."""
    structure = read_structure(data, limits)
    gray = len(structure.components) == 1
    pixels = _decode_pixels(data, colorspace="GRAY" if gray else "RGB")
    if pixels.shape[:2] != (structure.height, structure.width):
        raise PhotoDamaged("The JPEG's size is not what its header states.")
    return Decoded(
        stored_srgb_u8=gray_to_rgb(pixels[:, :, 0]) if gray else pixels,
        orientation=jpeg_orientation(structure),
        encoding=_encoding_of(structure, has_trailer=structure.end < len(data)),
    )


def jpeg_orientation(structure: JpegStructure) -> int:
    """The EXIF orientation 1..8, 1 where none is stated."""
    exif = next((s.payload for s in structure.metadata if s.marker == APP1 and s.payload.startswith(_EXIF)), b"")
    return orientation_of(exif)


def is_index(segment: Segment) -> bool:
    """Whether a segment lists further pictures behind this one (MPF)."""
    return segment.marker == APP2 and segment.payload.startswith(_MPF)


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


def _encoding_of(structure: JpegStructure, *, has_trailer: bool) -> JpegEncoding:
    try:
        tables = [structure.tables[component.table] for component in structure.components]
    except KeyError as error:
        raise PhotoDamaged("The JPEG lacks a quantization table.") from error
    if len(tables) == 3 and tables[2] == tables[1]:
        tables.pop()  # the encoder uses the last table for the components that have none: Cb and Cr share it
    return JpegEncoding(
        # A step of zero (seen in the wild) cannot be written again; it decodes as zero, and a step of 1 only refines
        # that.
        tables=tuple(tuple(max(step, 1) for step in table) for table in tables),
        subsampling=_subsampling(structure),
        rgb=structure.rgb,
        progressive=structure.progressive,
        optimized=not structure.huffman_tables.items() <= _standard_huffman_tables().items(),
        restart_interval=structure.restart_interval,
        metadata=tuple(segment for segment in structure.metadata if not (has_trailer and is_index(segment))),
    )


def _subsampling(structure: JpegStructure) -> str | None:
    """The coarsest subsampling that the encoder can write and that is no coarser than the file's."""
    if len(structure.components) == 1:
        return None
    luma, *chroma = structure.components
    across = min(luma.horizontal / component.horizontal for component in chroma)
    down = min(luma.vertical / component.vertical for component in chroma)
    if across < 2:
        return "4:4:4"
    return "4:2:2" if down < 2 else "4:2:0"


def _encode(pixels: np.ndarray, encoding: JpegEncoding) -> bytes:
    image = Image.fromarray(pixels)
    options: dict[str, object] = {
        "qtables": [list(table) for table in encoding.tables],
        "restart_marker_blocks": encoding.restart_interval,
    }
    if encoding.subsampling is not None:
        options |= {"subsampling": encoding.subsampling, "keep_rgb": encoding.rgb}
    out = io.BytesIO()
    try:
        image.save(out, "JPEG", progressive=encoding.progressive, optimize=encoding.optimized, **options)
    except OSError:
        # Pillow's buffer for progressive and optimized files holds two bytes a pixel; noise at quality 100 takes more.
        # The plain encoder streams.
        out = io.BytesIO()
        image.save(out, "JPEG", **options)
    return out.getvalue()


@functools.cache
def _standard_huffman_tables() -> dict[int, bytes]:
    """The tables of T.81 annex K.3, as encoders write them that do not optimize: taken from one such file."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG")
    return read_structure(out.getvalue(), PhotoLimits()).huffman_tables
