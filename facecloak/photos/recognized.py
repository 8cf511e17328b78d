"""Formats that are not taken, by name, so that whoever sends one learns what it is."""

from __future__ import annotations

import re
from typing import Literal

_SIGNATURES = tuple(
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in (
        ("GIF", rb"GIF8[79]a"),
        ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
        ("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
        ("JPEG XR", rb"II\xbc[\0\x01]"),
        ("Canon raw (CR2)", rb"II\*\0.{4}CR\x02"),
        ("Canon raw (CR3)", rb".{4}ftypcrx "),
        ("Canon raw (CRW)", rb"II\x1a\0\0\0HEAPCCDR"),
        ("Fujifilm raw (RAF)", rb"FUJIFILMCCD-RAW"),
        ("Panasonic raw (RW2)", rb"IIU\0"),
        ("Olympus raw (ORF)", rb"IIR[OS]|MMOR"),
        ("Sigma raw (X3F)", rb"FOVb"),
        ("Minolta raw (MRW)", rb"\0MRM"),
        ("Photoshop (PSD, PSB)", rb"8BPS\0[\x01\x02]"),
        ("BMP", rb"BM.{4}\0{4}"),
        ("icon (ICO, CUR)", rb"\0\0[\x01\x02]\0[\x01-\xff]\0"),
        ("OpenEXR", rb"\x76\x2f\x31\x01"),
        ("Radiance HDR", rb"#\?(?:RADIANCE|RGBE)"),
        ("DPX", rb"SDPX|XPDS"),
        ("QOI", rb"qoif"),
        ("FLIF", rb"FLIF"),
        ("BPG", rb"BPG\xfb"),
        ("PNM", rb"P[1-7fF][\s#]"),
        ("DICOM", rb".{128}DICM"),
        ("MNG or JNG", rb"[\x8a\x8b][MJ]NG\r\n\x1a\n"),
        ("a video (MP4, QuickTime)", rb".{4}(?:ftyp|moov|mdat|wide)"),
        ("a video (AVI)", rb"RIFF.{4}AVI "),
        ("a video (Matroska, WebM)", rb"\x1a\x45\xdf\xa3"),
        ("a video (MPEG)", rb"\0\0\x01[\xb3\xba]"),
        ("PDF", rb"%PDF-"),
        ("SVG or XML", rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg|!DOCTYPE)"),
        ("PostScript", rb"%!PS|\xc5\xd0\xd3\xc6"),
        ("a ZIP archive", rb"PK\x03\x04"),
    )
)
# Tags that tell a TIFF of a maker's own kind: DNGVersion; CFA patterns stand in raw files alone (TIFF/EP).
_DNG_VERSION, _MAKE = 0xC612, 0x010F
_RAW_MAKERS = (
    (b"NIKON", "Nikon raw (NEF)"),
    (b"SONY", "Sony raw (ARW)"),
    (b"PENTAX", "Pentax raw (PEF)"),
    (b"SAMSUNG", "Samsung raw (SRW)"),
    (b"Canon", "Canon raw"),
    (b"Hasselblad", "Hasselblad raw (3FR)"),
)
_SUB_DIRECTORIES, _MAX_ENTRIES, _TEXT_BYTES = 0x014A, 256, 32


def name_of(data: bytes) -> str | None:
    """The format's name; None for one that is not known."""
    for name, signature in _SIGNATURES:
        if signature.match(data):
            return name
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tiff_name(data)
    return "BigTIFF" if data[:4] in (b"II+\0", b"MM\0+") else None


def _tiff_name(data: bytes) -> str:
    """TIFF, or what a camera made of it: its first directory tells."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    directory = number(4, 4)
    tags: dict[int, int] = {}
    for index in range(min(number(directory, 2), _MAX_ENTRIES)):
        at = directory + 2 + 12 * index
        tags[number(at, 2)] = at
    if _DNG_VERSION in tags:
        return "DNG (raw)"
    if _MAKE in tags and _SUB_DIRECTORIES in tags:
        at = number(tags[_MAKE] + 8, 4)
        make = data[at : at + _TEXT_BYTES]
        for known, name in _RAW_MAKERS:
            if make.startswith(known):
                return name
    return "TIFF"
