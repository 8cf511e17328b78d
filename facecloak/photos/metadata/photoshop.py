"""Photoshop's image resources (8BIM): thumbnails go, nested EXIF, IPTC and XMP are cleaned, all others stay.

Adobe Photoshop File Formats Specification, "Image Resources Section".
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from facecloak.photos.metadata import iptc, xmp
from facecloak.photos.metadata.embedded import holds_picture
from facecloak.photos.metadata.opaque import is_opaque, may_hide_picture
from facecloak.photos.metadata.report import Report

CleanExif = Callable[[bytes], bytes]
"""EXIF without pictures of the face; nothing, where the block had better go; the same object where it may stay."""

_SIGNATURES = (b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa")
_THUMBNAILS = (0x0409, 0x040C)
_IPTC, _EXIF, _EXIF_3, _XMP, _IPTC_DIGEST = 0x0404, 0x0422, 0x0423, 0x0424, 0x0425
# Numbers that Photoshop itself gives: settings, paths, flags of printing. All others are plug-ins' and other programs'.
_PHOTOSHOPS_OWN = (range(1000, 1100), range(2000, 3001), range(10_000, 10_001))
_MAX_RESOURCES = 2000


def cleaned_resources(block: bytes, clean_exif: CleanExif, report: Report) -> bytes:
    """The resources without pictures; the same object where nothing was to be done."""
    resources, rest = _resources(block)
    cleaned: dict[int, bytes] = {}
    for index, (number, _, data, _) in enumerate(resources):
        cleaned[index] = _cleaned(number, data, clean_exif, report)
    iptc_changed = any(
        number == _IPTC and cleaned[index] is not data for index, (number, _, data, _) in enumerate(resources)
    )
    kept: list[bytes] = []
    for index, (number, head, data, whole) in enumerate(resources):
        if number == _IPTC_DIGEST and iptc_changed:
            report.dropped("photoshop.iptc_digest")
        elif cleaned[index] is data:
            kept.append(whole)
        elif cleaned[index]:
            new = cleaned[index]
            kept.append(head + struct.pack(">I", len(new)) + new + b"\0" * (len(new) % 2))
    if may_hide_picture(rest):
        report.dropped("photoshop.data")
        rest = b""
    joined = b"".join([*kept, rest])
    return block if joined == block else joined


def _resources(block: bytes) -> tuple[list[tuple[int, bytes, bytes, bytes]], bytes]:
    """(number, what stands before the size, data, the whole) of each resource; and what follows the last one."""
    found: list[tuple[int, bytes, bytes, bytes]] = []
    at = 0
    while len(found) < _MAX_RESOURCES and at + 12 <= len(block) and block[at : at + 4] in _SIGNATURES:
        name_end = at + 6 + (block[at + 6] + 2) // 2 * 2
        begin = name_end + 4
        size = int.from_bytes(block[name_end:begin], "big")
        if begin + size > len(block):
            break
        end = min(begin + size + size % 2, len(block))
        number = int.from_bytes(block[at + 4 : at + 6], "big")
        found.append((number, block[at:name_end], block[begin : begin + size], block[at:end]))
        at = end
    return found, block[at:]


def _cleaned(number: int, data: bytes, clean_exif: CleanExif, report: Report) -> bytes:
    """A resource's data; empty to drop it, the same object to keep it."""
    if number in _THUMBNAILS:
        report.dropped("photoshop.thumbnail")
        return b""
    if number == _IPTC:
        return iptc.cleaned_iptc(data, report)
    if number == _XMP:
        packet = xmp.cleaned_xmp(data, report).packet
        return packet if packet is not None else b""
    if number in (_EXIF, _EXIF_3):
        return clean_exif(data)
    if holds_picture(data) or (not any(number in known for known in _PHOTOSHOPS_OWN) and is_opaque(data)):
        report.dropped("photoshop.data")
        return b""
    return data
