"""A HEIF file put together anew: the items and properties that it is to have, and nothing else (ISO/IEC 23008-12)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from facecloak.photos.heif.boxes import box, full_box

_HIDDEN = 1


@dataclass
class NewItem:
    """An item to write; its number is its place in the list, from 1 on.

    Attributes:
        properties: (kind, content, whether a reader must know it), in the order in which they apply.
        references: (kind, places in the list of the items that it refers to).
    """

    kind: bytes
    content: bytes
    content_type: bytes = b""
    hidden: bool = False
    properties: list[tuple[bytes, bytes, bool]] = field(default_factory=list)
    references: list[tuple[bytes, list[int]]] = field(default_factory=list)


def written(items: Sequence[NewItem], *, head: bytes, tail: Sequence[bytes] = ()) -> bytes:
    """The file; the first item is the photo.

    Args:
        head: the ``ftyp`` box.
        tail: boxes to write behind the items' bytes.
    """
    offset = 0
    for _ in range(2):  # the second time it is known where the items' bytes begin
        meta = full_box(
            b"meta", 0, 0,
            full_box(b"hdlr", 0, 0, b"\0" * 4, b"pict", b"\0" * 13),
            full_box(b"pitm", 0, 0, struct.pack(">H", 1)),
            _places(items, offset),
            full_box(b"iinf", 0, 0, struct.pack(">H", len(items)), *map(_entry, items, range(1, len(items) + 1))),
            _references(items),
            _properties(items),
        )  # fmt: skip
        offset = len(head) + len(meta) + 8
    return b"".join([head, meta, box(b"mdat", *(items[index].content for index in _in_file(items))), *tail])


def _in_file(items: Sequence[NewItem]) -> list[int]:
    """The items' places in the list, in the order in which their bytes stand: metadata first. OpenCV parses no more
    than a file's first 500 bytes to tell what it is, and that wants the EXIF."""
    return sorted(range(len(items)), key=lambda index: items[index].kind not in (b"Exif", b"mime"))


def _entry(item: NewItem, number: int) -> bytes:
    name = b"\0" + (item.content_type + b"\0" if item.kind == b"mime" else b"")
    return full_box(b"infe", 2, _HIDDEN if item.hidden else 0, struct.pack(">HH4s", number, 0, item.kind), name)


def _places(items: Sequence[NewItem], offset: int) -> bytes:
    rows = [struct.pack(">HH", 0x4400, len(items))]
    offsets: dict[int, int] = {}
    for index in _in_file(items):
        offsets[index] = offset
        offset += len(items[index].content)
    for index, item in enumerate(items):
        rows.append(struct.pack(">HHHII", 1 + index, 0, 1, offsets[index], len(item.content)))
    return full_box(b"iloc", 0, 0, *rows)


def _references(items: Sequence[NewItem]) -> bytes:
    rows = [
        box(kind, struct.pack(f">HH{len(targets)}H", number, len(targets), *(target + 1 for target in targets)))
        for number, item in enumerate(items, 1)
        for kind, targets in item.references
    ]
    return full_box(b"iref", 0, 0, *rows) if rows else b""


def _properties(items: Sequence[NewItem]) -> bytes:
    known: list[tuple[bytes, bytes]] = []
    rows = []
    for number, item in enumerate(items, 1):
        indexes = []
        for kind, content, essential in item.properties:
            if (kind, content) not in known:
                known.append((kind, content))
            indexes.append((known.index((kind, content)) + 1) | (0x8000 if essential else 0))
        if indexes:
            rows.append(struct.pack(f">HB{len(indexes)}H", number, len(indexes), *indexes))
    container = box(b"ipco", *(box(kind, content) for kind, content in known))
    return box(b"iprp", container, full_box(b"ipma", 0, 1, struct.pack(">I", len(rows)), *rows))
