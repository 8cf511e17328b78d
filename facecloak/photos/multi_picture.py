"""The index of a file's pictures (CIPA DC-007, Multi-Picture Format), written anew for those that are left."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from facecloak.photos.errors import PhotoRefused
from facecloak.photos.jpeg_structure import APP2, read_structure
from facecloak.photos.limits import PhotoLimits

IDENTIFIER = b"MPF\0"
_VERSION, _COUNT, _ENTRIES = 0xB000, 0xB001, 0xB002
_HEADER = b"MM\0\x2a" + struct.pack(">I", 8)
_ENTRY_BYTES = 16
_ENTRIES_AT = 8 + 2 + 3 * 12 + 4
_PRIMARY, _OTHER = 0x0003_0000, 0
_UNLIMITED = PhotoLimits(max_bytes=2**31, max_pixels=2**31, max_side=65_535)


def segment_for(others: int) -> bytes:
    """A segment for a photo and so many other pictures; :func:`with_true_places` fills in where they are."""
    return _segment([(0, 0)] * (1 + others))


def with_true_places(data: bytes) -> bytes:
    """A finished file whose index, where :func:`segment_for` wrote it, says where the pictures are."""
    found = _own_index(data)
    if found is None:
        return data
    begin, stated = found
    base = begin + 4 + len(IDENTIFIER)
    places: list[tuple[int, int]] = []
    at = 0
    for _ in stated:
        end = at + read_structure(data[at:], _UNLIMITED).end
        places.append((end - at, at - base if at else 0))
        at = end
    new = _segment(places)
    return data[:begin] + new + data[begin + len(new) :]


def with_places_of(data: bytes, finished: bytes) -> bytes:
    """A file whose index, where :func:`segment_for` wrote it, says where the pictures are in ``finished``: what becomes
    of it when a segment is put into it. The very same file where there is no such index."""
    found, true = _own_index(data), _own_index(with_true_places(finished))
    if found is None or true is None:
        return data
    begin, new = found[0], _segment(true[1])
    return data[:begin] + new + data[begin + len(new) :]


def _own_index(data: bytes) -> tuple[int, list[tuple[int, int]]] | None:
    """Where the index begins that :func:`segment_for` wrote, and the (size, offset) of each picture in it."""
    try:
        structure = read_structure(data, _UNLIMITED, header_only=True)
    except PhotoRefused:
        return None
    segment = next((s for s in structure.metadata if s.marker == APP2 and s.payload.startswith(IDENTIFIER)), None)
    if segment is None:
        return None
    count = (len(segment.payload) - len(IDENTIFIER) - _ENTRIES_AT) // _ENTRY_BYTES
    if count < 1 or segment.data != _segment(_places_in(segment.payload, count)):
        return None  # not one that was written here
    return segment.begin, _places_in(segment.payload, count)


def _places_in(payload: bytes, count: int) -> list[tuple[int, int]]:
    begin = len(IDENTIFIER) + _ENTRIES_AT
    numbers = [struct.unpack_from(">II", payload, begin + _ENTRY_BYTES * index + 4) for index in range(count)]
    return [(size, offset) for size, offset in numbers]


def _segment(places: Sequence[tuple[int, int]]) -> bytes:
    """(size, offset) of each picture; the first one is the photo."""
    count = len(places)
    directory = b"".join([
        struct.pack(">H", 3),
        struct.pack(">HHI4s", _VERSION, 7, 4, b"0100"),
        struct.pack(">HHII", _COUNT, 4, 1, count),
        struct.pack(">HHII", _ENTRIES, 7, _ENTRY_BYTES * count, _ENTRIES_AT),
        struct.pack(">I", 0),
    ])  # fmt: skip
    entries = b"".join(
        struct.pack(">IIIHH", _OTHER if index else _PRIMARY, size, offset, 0, 0)
        for index, (size, offset) in enumerate(places)
    )
    payload = IDENTIFIER + _HEADER + directory + entries
    return bytes((0xFF, APP2)) + struct.pack(">H", 2 + len(payload)) + payload
