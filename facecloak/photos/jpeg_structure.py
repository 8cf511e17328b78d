"""The structure of a JPEG file: its segments, read without decoding anything (ITU-T T.81 annex B).

Needed because decoders hide what must survive: quantization tables, sampling, scan script, metadata segments byte for
byte.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from facecloak.photos.errors import PhotoDamaged, PhotoTruncated, UnsupportedColorMode, UnsupportedPhoto
from facecloak.photos.limits import PhotoLimits

EOI, SOS, DQT, DHT, DRI = 0xD9, 0xDA, 0xDB, 0xC4, 0xDD
COM, APP0, APP1, APP2, APP14 = 0xFE, 0xE0, 0xE1, 0xE2, 0xEE
BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2
_JPEG_LS = 0xF7
_FRAME_MARKERS = (frozenset(range(0xC0, 0xD0)) | {_JPEG_LS}) - {0xC4, 0xC8, 0xCC}
# A marker inside entropy-coded data: not a stuffed zero, not a restart, not a fill byte.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# A marker between segments, behind fill bytes and what else stands there.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MOST_STRAY_BYTES = 4096
_REMEDY = "save it as a JPEG of 8 bits, gray or RGB, baseline or progressive"
# Only the profile tells what colors the inks make, so whoever has it must convert.
_INKS_REMEDY = "convert it by its ICC profile to sRGB and save it as an RGB JPEG"

ZIGZAG = (
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
)  # fmt: skip
"""Natural position of the k-th coefficient in zigzag order (T.81 figure A.6)."""
# Where each natural position stands in a file.
_ZIGZAG_PLACES = tuple(ZIGZAG.index(position) for position in range(64))


@dataclass(frozen=True)
class Component:
    """One color component of the frame."""

    identifier: int
    horizontal: int
    vertical: int
    table: int


@dataclass(frozen=True)
class Segment:
    """A marker segment: ``data`` is the whole of it, marker and length included, and ``begin`` its place in the
    file."""

    marker: int
    data: bytes
    begin: int = field(default=0, compare=False)

    @property
    def payload(self) -> bytes:
        return self.data[4:]


@dataclass(frozen=True)
class _Scan:
    """Which coefficients a scan carries, of which components (T.81 B.2.3)."""

    components: tuple[int, ...]
    first: int
    last: int
    low_bit: int


@dataclass
class JpegStructure:
    """What a JPEG file says about itself.

    Attributes:
        metadata: APPn and COM segments before the first scan, in file order.
        tables: quantization table number -> 64 values in natural (row by row) order.
        huffman_tables: class and number -> that Huffman table's bytes (code lengths, then symbols); the last one
            stated.
        end: offset just behind the EOI marker; what follows is no part of this picture.
        gaps: (begin, end) of bytes between segments that belong to none.
        has_end: whether there is an EOI marker.
    """

    process: int = 0
    width: int = 0
    height: int = 0
    components: tuple[Component, ...] = ()
    metadata: list[Segment] = field(default_factory=list)
    tables: dict[int, list[int]] = field(default_factory=dict)
    huffman_tables: dict[int, bytes] = field(default_factory=dict)
    restart_interval: int = 0
    scans: int = 0
    end: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    has_end: bool = True
    _written: list[_Scan] = field(default_factory=list)

    @property
    def progressive(self) -> bool:
        return self.process == PROGRESSIVE

    @property
    def is_whole(self) -> bool:
        """Whether the scans carry every coefficient to its last bit, as far as their headers say: a file without an
        end may lack scans, and decoders do not tell."""
        if not self.progressive:
            return {c.identifier for c in self.components} == {c for scan in self._written for c in scan.components}
        missing = {(component.identifier, k) for component in self.components for k in range(64)}
        for scan in self._written:
            if scan.low_bit == 0:
                missing -= {(component, k) for component in scan.components for k in range(scan.first, scan.last + 1)}
        return not missing

    @property
    def rgb(self) -> bool:
        """Whether three components are R, G, B and not Y, Cb, Cr: libjpeg's rule (jdapimin.c,
        default_decompress_parms)."""
        if len(self.components) != 3 or any(s.marker == APP0 and s.payload[:5] == b"JFIF\0" for s in self.metadata):
            return False
        for segment in self.metadata:
            if segment.marker == APP14 and segment.payload[:5] == b"Adobe" and len(segment.payload) >= 12:
                return segment.payload[11] == 0
        return [component.identifier for component in self.components] == [ord(letter) for letter in "RGB"]


def read_structure(data: bytes, limits: PhotoLimits, *, header_only: bool = False) -> JpegStructure:
    """Walk a JPEG from SOI to EOI, or to the first scan. Raises the refusals of
    :func:`facecloak.photos.decode_photo`."""
    found = JpegStructure()
    at, stray = 2, 0
    for count, (marker, start, end) in enumerate(_segments(data)):
        limits.check_segments(count)
        if start > at and not found.scans:
            found.gaps.append((at, start))
            # Fill bytes are the standard's own (T.81 B.1.1.2), and there may be any number of them.
            stray += start - at - data.count(b"\xff", at, start)
            if stray > _MOST_STRAY_BYTES:
                raise PhotoDamaged("The JPEG has data where a segment should begin.", offset=at)
        at = end
        payload = data[start + 4 : end]
        if marker in _FRAME_MARKERS:
            _read_frame(found, marker, payload, limits)
        elif marker == DQT:
            _read_tables(found, payload)
        elif marker == DHT:
            _read_huffman_tables(found, payload)
        elif marker == DRI:
            if len(payload) != 2:
                raise PhotoDamaged("The JPEG's restart interval is of a wrong length.")
            found.restart_interval = int.from_bytes(payload, "big")
        elif marker == SOS:
            found.scans += 1
            limits.check_scans(found.scans, found.width * found.height)
            if header_only:
                break
            found._written.append(_read_scan(payload))
        elif marker == EOI:
            found.end, found.has_end = end, end > start
        elif (APP0 <= marker <= 0xEF or marker == COM) and not found.scans:
            found.metadata.append(Segment(marker, data[start:end], start))
    if not found.components or not found.scans:
        raise PhotoDamaged("The JPEG holds no picture.")
    if not found.has_end and not found.is_whole:
        raise PhotoTruncated("The JPEG ends before its picture does.")
    return found


def mended(data: bytes, structure: JpegStructure) -> bytes:
    """The file without what is between its segments, and with an end: decoders stop at neither, but say the same of
    files that lost a part of their picture."""
    parts, at = [], 0
    for begin, end in structure.gaps:
        parts.append(data[at:begin])
        at = end
    if not parts and structure.has_end:
        return data
    tail = b"" if structure.has_end else bytes((0xFF, EOI))
    end = len(data) if structure.has_end else structure.end
    return b"".join([*parts, data[at:end], tail])


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment, ending with EOI; entropy-coded data is skipped. Where nothing but EOI is
    missing, it is one of no length."""
    at = 2
    scans = 0
    while True:
        found = (_NEXT_MARKER if scans else _MARKER).search(data, at)
        if found is None:
            if not scans:
                raise PhotoTruncated("The JPEG ends before its picture does.")
            end = len(data.rstrip(b"\xff"))
            yield EOI, end, end
            return
        at = found.start()
        marker = data[at + 1]
        if marker == EOI:
            yield EOI, at, at + 2
            return
        if at + 4 > len(data):
            raise PhotoTruncated("The JPEG ends inside its header.")
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end < at + 4:
            raise PhotoDamaged("The JPEG has a segment of no length.")
        if end > len(data):
            raise PhotoTruncated("The JPEG ends inside its header.")
        scans += marker == SOS
        yield marker, at, end
        at = end


def _read_scan(payload: bytes) -> _Scan:
    count = payload[0] if payload else 0
    if len(payload) < 1 + 2 * count + 3:
        raise PhotoDamaged("The JPEG's scan header is too short.")
    first, last, bits = payload[1 + 2 * count : 4 + 2 * count]
    return _Scan(tuple(payload[1 : 1 + 2 * count : 2]), first, min(last, 63), bits & 15)


def _read_frame(found: JpegStructure, marker: int, payload: bytes, limits: PhotoLimits) -> None:
    if found.components:
        raise UnsupportedPhoto("The JPEG has more than one frame.")
    if len(payload) < 6 or len(payload) != 6 + 3 * payload[5]:
        raise PhotoDamaged("The JPEG's frame header is of a wrong length.")
    precision, count = payload[0], payload[5]
    found.process = marker
    found.height, found.width = int.from_bytes(payload[1:3], "big"), int.from_bytes(payload[3:5], "big")
    if marker not in (BASELINE, EXTENDED, PROGRESSIVE):
        kind = _process_name(marker)
        raise UnsupportedPhoto(
            f"The JPEG is {kind}, which is not taken; {_REMEDY}.", process=f"SOF{marker - 0xC0}", format=kind
        )
    if precision != 8:
        raise UnsupportedColorMode(f"The JPEG has {precision} bits a sample; {_REMEDY}.", bits=precision)
    if count == 4:
        raise UnsupportedColorMode(
            f"The JPEG is CMYK or YCCK (inks), which is not taken; {_INKS_REMEDY}.", components=count
        )
    if count not in (1, 3):
        raise UnsupportedColorMode(f"The JPEG has {count} components; {_REMEDY}.", components=count)
    if not found.width or not found.height:
        raise UnsupportedPhoto("The JPEG does not state its size.")
    limits.check_size(found.width, found.height)
    found.components = tuple(
        Component(payload[at], payload[at + 1] >> 4, payload[at + 1] & 15, payload[at + 2])
        for at in range(6, 6 + 3 * count, 3)
    )
    if any(not (1 <= c.horizontal <= 4 and 1 <= c.vertical <= 4) for c in found.components):
        raise PhotoDamaged("The JPEG has impossible sampling factors.")


def _process_name(marker: int) -> str:
    """How a frame is coded, in words (T.81 table B.1; T.87 for JPEG-LS)."""
    if marker == _JPEG_LS:
        return "JPEG-LS"
    if marker in (0xC3, 0xCB):
        return "lossless JPEG"
    if marker in (0xC9, 0xCA):
        return "arithmetic-coded JPEG"
    return "hierarchical JPEG"


def _read_tables(found: JpegStructure, payload: bytes) -> None:
    at = 0
    while at < len(payload):
        width, number = 1 + (payload[at] >> 4 != 0), payload[at] & 15
        values = payload[at + 1 : at + 1 + 64 * width]
        if len(values) < 64 * width:
            raise PhotoDamaged("The JPEG has a short quantization table.")
        steps = struct.unpack(">64H" if width == 2 else "64B", values)
        found.tables.setdefault(number, [steps[k] for k in _ZIGZAG_PLACES])
        at += 1 + 64 * width


def _read_huffman_tables(found: JpegStructure, payload: bytes) -> None:
    at = 0
    while at + 17 <= len(payload):
        end = at + 17 + sum(payload[at + 1 : at + 17])
        found.huffman_tables[payload[at]] = payload[at + 1 : end]
        at = end
    if at != len(payload):
        raise PhotoDamaged("The JPEG has a Huffman table of a wrong length.")


def metadata_end(data: bytes) -> int:
    """The offset of the first segment that is not APPn or COM."""
    return next(start for marker, start, _ in _segments(data) if not (APP0 <= marker <= 0xEF or marker == COM))
