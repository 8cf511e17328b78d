"""How a JPEG's picture is coded, read from one file and used for another: tables, sampling, scan script, restarts."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facecloak.photos.errors import PhotoDamaged
from facecloak.photos.grayscale import rgb_to_gray
from facecloak.photos.jpeg_structure import JpegStructure, read_structure
from facecloak.photos.limits import PhotoLimits


@dataclass(frozen=True)
class JpegEncoding:
    """How a JPEG was encoded.

    Attributes:
        tables: quantization tables of the components in turn, 64 values in natural order; Cr's only where it differs.
        subsampling: "4:4:4", "4:2:2" or "4:2:0"; None for gray.
        optimized: whether the file has Huffman tables of its own.
        restart_interval: MCUs between restart markers, 0 for none.
    """

    tables: tuple[tuple[int, ...], ...]
    subsampling: str | None
    rgb: bool
    progressive: bool
    optimized: bool
    restart_interval: int


def encoding_of(structure: JpegStructure) -> JpegEncoding:
    """Raises PhotoDamaged where a quantization table is missing."""
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


def encode_jpeg(srgb_u8: np.ndarray, encoding: JpegEncoding) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG without metadata, but for what Pillow writes in front (JFIF, Adobe)."""
    image = Image.fromarray(rgb_to_gray(srgb_u8) if encoding.subsampling is None else srgb_u8)
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
