"""IPTC records (IIM 4.2): the previews in them go, all other datasets stay byte for byte."""

from __future__ import annotations

from facecloak.photos.metadata.opaque import may_hide_picture
from facecloak.photos.metadata.report import Report

_TAG = 0x1C
# 2:200..2:202 are the preview's format, version and data; records 7 to 9 carry an object, such as a picture, itself.
_PREVIEW = ((2, 200), (2, 201), (2, 202))
_OBJECT_RECORDS = (7, 8, 9)
_MAX_DATASETS = 5000


def cleaned_iptc(block: bytes, report: Report) -> bytes:
    """The records without pictures; the same object where there were none."""
    kept: list[bytes] = []
    at = 0
    for _ in range(_MAX_DATASETS):
        if not (at + 5 <= len(block) and block[at] == _TAG):
            break
        record, dataset = block[at + 1], block[at + 2]
        size, head = int.from_bytes(block[at + 3 : at + 5], "big"), 5
        if size & 0x8000:  # extended: the size's own size, then the size
            width = size & 0x7FFF
            if width > 4:
                break
            size, head = int.from_bytes(block[at + 5 : at + 5 + width], "big"), 5 + width
        end = at + head + size
        if end > len(block):
            break
        if (record, dataset) in _PREVIEW or record in _OBJECT_RECORDS or may_hide_picture(block[at + head : end]):
            report.dropped("iptc.preview")
        else:
            kept.append(block[at:end])
        at = end
    rest = block[at:]
    if may_hide_picture(rest):
        report.dropped("iptc.preview")
        rest = b""
    cleaned = b"".join([*kept, rest])
    return block if len(cleaned) == len(block) else cleaned
