"""Boxes of ISO base media files (ISO/IEC 14496-12, 4.2), read and written; nothing in them is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from facecloak.photos.errors import PhotoDamaged
from facecloak.photos.limits import PhotoLimits

_HEAD, _LARGE_HEAD = 8, 16
_EXTENDED_TYPE = 16


@dataclass(frozen=True)
class IsoBox:
    """A box at ``data[begin:end]``; its content begins at ``inside``."""

    kind: bytes
    begin: int
    inside: int
    end: int

    def content(self, data: bytes) -> bytes:
        return data[self.inside : self.end]


def boxes_in(data: bytes, begin: int, end: int, limits: PhotoLimits) -> Iterator[IsoBox]:
    """The boxes that fill ``data[begin:end]``. Raises PhotoDamaged where one does not fit."""
    at, count = begin, 0
    while at < end:
        limits.check_segments(count)
        count += 1
        box = box_at(data, at, end)
        if box is None:
            raise PhotoDamaged("The file has a box that is longer than what holds it.", offset=at)
        yield box
        at = box.end


def top_level(data: bytes, limits: PhotoLimits) -> tuple[list[IsoBox], int]:
    """The file's own boxes, and where they end: what follows is no box, such as a maker's trailer."""
    boxes: list[IsoBox] = []
    at = 0
    while at < len(data):
        limits.check_segments(len(boxes))
        box = box_at(data, at, len(data))
        if box is None or not box.kind.isalnum():
            break
        boxes.append(box)
        at = box.end
    return boxes, at


def box_at(data: bytes, at: int, end: int) -> IsoBox | None:
    """The box that begins at ``at``; None where none fits before ``end``."""
    if at + _HEAD > end:
        return None
    size, kind = struct.unpack_from(">I4s", data, at)
    inside = at + _HEAD
    if size == 1:
        if at + _LARGE_HEAD > end:
            return None
        size, inside = int.from_bytes(data[at + _HEAD : at + _LARGE_HEAD], "big"), at + _LARGE_HEAD
    elif size == 0:
        size = end - at
    if kind == b"uuid":
        inside += _EXTENDED_TYPE
    return IsoBox(kind, at, inside, at + size) if at + size <= end and inside <= at + size else None


def box(kind: bytes, *contents: bytes) -> bytes:
    """A box, whole."""
    content = b"".join(contents)
    return struct.pack(">I4s", _HEAD + len(content), kind) + content


def full_box(kind: bytes, version: int, flags: int, *contents: bytes) -> bytes:
    """A box that states a version and flags (4.2.2)."""
    return box(kind, struct.pack(">I", version << 24 | flags), *contents)


class Reader:
    """Numbers in turn from a part of a file; raises PhotoDamaged where they are cut."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self.at, self._end = data, at, end

    def number(self, size: int) -> int:
        """A big-endian number of ``size`` bytes; 0 for none."""
        if self.at + size > self._end:
            raise PhotoDamaged("The file has a box that is too short.", offset=self.at)
        self.at += size
        return int.from_bytes(self._data[self.at - size : self.at], "big")

    def take(self, size: int) -> bytes:
        """So many bytes as they are."""
        self.number(0 if size <= 0 else size)
        return self._data[self.at - max(size, 0) : self.at]

    def string(self) -> bytes:
        """Up to a zero, or to the end."""
        found = self._data.find(b"\0", self.at, self._end)
        stop = self._end if found < 0 else found
        text = self._data[self.at : stop]
        self.at = min(stop + 1, self._end)
        return text
