"""EXIF: every picture in the block is drawn anew or wiped in its place, so that no offset and no other tag changes.

CIPA DC-008 (Exif 2.32) and TIFF 6.0. Thumbnails (IFD1) and sub-IFDs are found by their tags; previews in maker notes,
whose layouts are the makers' own, by how a picture begins.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from facecloak.photos.metadata import iptc, photoshop, xmp
from facecloak.photos.metadata.embedded import JPEG, TEXT, holds_picture, jpeg_end, pictures_in
from facecloak.photos.metadata.opaque import MOST_OPAQUE_BYTES, is_opaque
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.report import Report

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 0x0100, 0x0101, 0x0102, 0x0103, 0x0106
_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES = 0x0111, 0x0117, 0x0144, 0x0145
_ORIENTATION, _PLANAR = 0x0112, 0x011C
_JPEG_AT, _JPEG_SIZE = 0x0201, 0x0202
_XMP, _IPTC, _PHOTOSHOP = 0x02BC, 0x83BB, 0x8649
_SUB_DIRECTORIES = (0x014A, 0x8769, 0x8825, 0xA005)
_MAKER_NOTE, _USER_COMMENT = 0x927C, 0x9286
_UNNAMED = re.compile(rb"\x00{%d,}" % MOST_OPAQUE_BYTES)
# Bytes, text and bytes of no kind; and the tags whose bytes are of a known kind: those read above, a maker note, a
# profile and a table of the sensor's colors.
_BYTES = (1, 2, 6, 7)
_KNOWN_BYTES = frozenset((_XMP, _IPTC, _PHOTOSHOP, _MAKER_NOTE, 0x8773, 0xA302))
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I"}
_RGB, _UNCOMPRESSED = 2, 1
_MAX_DIRECTORIES, _MAX_ENTRIES, _MAX_VALUES, _MAX_FOUND = 64, 512, 4096, 64


@dataclass(frozen=True)
class _IfdEntry:
    """A directory's entry: its type, how many values, and where they are."""

    kind: int
    count: int
    at: int
    place: int


@dataclass
class _Directory:
    """An image file directory; ``pointer`` is where the offset of it stands that leads here, ``following`` where the
    offset of the next one stands."""

    pointer: int
    following: int
    first: bool
    entries: dict[int, _IfdEntry] = field(default_factory=dict)


def cleaned_exif(tiff: bytes, painter: ThumbnailPainter, report: Report) -> bytes:
    """The block without a picture of the face but those drawn anew; as long as it was, and the same object where
    nothing was to be done."""
    block = _Block(tiff, painter, report)
    block.clean()
    return bytes(block.data) if block.changed else tiff


def holds_pictures(tiff: bytes) -> bool:
    """Whether a TIFF block holds a picture."""
    block = _Block(tiff, None, Report())
    regions = [_regions(block, directory) for directory in block.directories]  # all of them: one may have no end
    return any(regions) or block.is_endless or any(True for _ in pictures_in(tiff))


class _Block:
    def __init__(self, tiff: bytes, painter: ThumbnailPainter | None, report: Report) -> None:
        self.data = bytearray(tiff)
        self.changed = False
        # Whether there is more in it than is looked at.
        self.is_endless = False
        # Tags may lead to the same bytes again and again.
        self._nested_left = 2 * len(tiff)
        self._painter = painter
        self._report = report
        self._order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "")
        self.directories: list[_Directory] = []
        if self._order:
            self._read_directories()

    def clean(self) -> None:
        main = self.directories[0] if self.directories else None
        handled = bytearray(self.data)
        for directory in self.directories:
            for begin, end in self._nested(directory, handled):
                handled[begin:end] = bytes(end - begin)
            regions = _regions(self, directory)
            if regions:
                name = "exif.thumbnail" if directory is not main and not directory.first else "exif.preview"
                self._replace_picture(directory, regions, name=name)
                for begin, end in regions:
                    handled[begin:end] = bytes(end - begin)
        for index, picture in enumerate(pictures_in(bytes(handled))):
            if index >= _MAX_FOUND:
                self._write(picture.begin, len(self.data), b"")
                self._report.dropped("exif.preview")
                break
            self._replace_found(picture.begin, picture.end, picture.kind)
            handled[picture.begin : picture.end] = bytes(picture.end - picture.begin)
        if self.is_endless:
            self._leave_orientation()
        else:
            self._wipe_unnamed(handled)

    def _leave_orientation(self) -> None:
        """More directories, entries or strips than any program writes: all but the orientation goes."""
        orientation = self.value(self.directories[0], _ORIENTATION)
        entry = (_ORIENTATION, 3, 1, orientation if 1 <= orientation <= 8 else 1, 0)
        least = bytes(self.data[:4]) + struct.pack(self._order + "IHHHIHHI", 8, 1, *entry, 0)
        self._write(0, len(self.data), least[: len(self.data)])
        self._report.dropped("exif.data")

    def _wipe_unnamed(self, left: bytearray) -> None:
        """Wipes what no tag leads to, where it is more than can be looked into; unless there is a maker note, whose own
        offsets may lead anywhere. ``left``: the block without what was cleaned."""
        if any(_MAKER_NOTE in directory.entries for directory in self.directories):
            return
        named = bytearray(len(left))
        for begin, end in self._named():
            named[begin:end] = b"\1" * (min(end, len(left)) - begin)
        for run in _UNNAMED.finditer(named):
            if is_opaque(bytes(left[run.start() : run.end()])):
                self._write(run.start(), run.end(), b"")
                self._report.dropped("exif.data")

    def _named(self) -> Iterator[tuple[int, int]]:
        """(begin, end) of what is a directory's, or a tag leads to."""
        for directory in self.directories:
            yield self._number(directory.pointer), min(directory.following + 4, len(self.data))
            for entry in directory.entries.values():
                yield entry.at, entry.at + entry.count * _TYPE_BYTES[entry.kind]
            yield from _regions(self, directory)

    def values(self, directory: _Directory, tag: int) -> list[int]:
        """A tag's whole numbers; none where it is missing or of another type."""
        entry = directory.entries.get(tag)
        if entry is None or entry.kind not in _INTEGERS:
            return []
        if entry.count > _MAX_VALUES:
            self.is_endless = True
            return []
        return list(struct.unpack_from(f"{self._order}{entry.count}{_INTEGERS[entry.kind]}", self.data, entry.at))

    def value(self, directory: _Directory, tag: int) -> int:
        """A tag's first whole number; 0 where there is none."""
        return (self.values(directory, tag) or [0])[0]

    def _read_directories(self) -> None:
        queue = [(4, True)]
        seen: set[int] = set()
        while queue:
            pointer, first = queue.pop(0)
            offset = self._number(pointer)
            if not 8 <= offset <= len(self.data) - 2 or offset in seen:
                continue
            if len(self.directories) >= _MAX_DIRECTORIES:
                self.is_endless = True
                return
            seen.add(offset)
            directory = self._read_directory(offset, pointer=pointer, first=first)
            self.directories.append(directory)
            for tag in _SUB_DIRECTORIES:
                entry = directory.entries.get(tag)
                if entry is not None and entry.kind in (4, 13):
                    self.is_endless |= entry.count > _MAX_DIRECTORIES
                    queue += [(entry.at + 4 * index, True) for index in range(min(entry.count, _MAX_DIRECTORIES))]
            queue.append((directory.following, False))

    def _read_directory(self, offset: int, *, pointer: int, first: bool) -> _Directory:
        (count,) = struct.unpack_from(self._order + "H", self.data, offset)
        directory = _Directory(pointer, offset + 2 + 12 * count, first)
        self.is_endless |= count > _MAX_ENTRIES and offset + 2 + 12 * _MAX_ENTRIES < len(self.data)
        for index in range(min(count, _MAX_ENTRIES)):
            place = offset + 2 + 12 * index
            if place + 12 > len(self.data):
                break
            tag, kind, number = struct.unpack_from(self._order + "HHI", self.data, place)
            size = _TYPE_BYTES.get(kind, 0) * number
            at = place + 8 if size <= 4 else self._number(place + 8)
            if size and at + size <= len(self.data):
                directory.entries.setdefault(tag, _IfdEntry(kind, number, at, place))
        return directory

    def _number(self, at: int) -> int:
        """A 32-bit offset; 0 where the block ends before it."""
        if at + 4 > len(self.data):
            return 0
        return int(struct.unpack_from(self._order + "I", self.data, at)[0])

    def _nested(self, directory: _Directory, handled: bytearray) -> list[tuple[int, int]]:
        """Cleans the blocks of other kinds that tags hold, unless they were ``handled`` (zeros); returns where they
        are."""
        places: list[tuple[int, int]] = []
        cleaners: dict[int, Callable[[bytes], bytes]] = {
            _XMP: lambda block: xmp.cleaned_xmp(block, self._report).packet or b"",
            _PHOTOSHOP: lambda block: photoshop.cleaned_resources(block, self._exif_within, self._report),
            _IPTC: lambda block: iptc.cleaned_iptc(block, self._report),
        }
        for tag, cleaner in cleaners.items():
            entry = directory.entries.get(tag)
            if entry is None:
                continue
            begin, end = entry.at, entry.at + entry.count * _TYPE_BYTES[entry.kind]
            if self._nested_left < end - begin or not any(handled[begin : min(begin + 16, end)]):
                continue  # what is not cleaned here is searched for pictures like all the rest
            self._nested_left -= end - begin
            block = bytes(handled[begin:end])
            new = cleaner(block)
            if new != block:
                # As long as before: XMP ends in white space, and the others' readers stop at zeros.
                self._write(begin, end, new, padding=b" " if tag == _XMP else b"\0")
            places.append((begin, end))
        for tag, entry in directory.entries.items():
            begin, end = entry.at, entry.at + entry.count * _TYPE_BYTES[entry.kind]
            if entry.kind in _BYTES and tag not in _KNOWN_BYTES and end - begin >= MOST_OPAQUE_BYTES:
                # UserComment names its character set in its first 8 bytes.
                content = bytes(handled[begin + 8 * (tag == _USER_COMMENT) : end])
                # A picture that can be told is found below, and drawn anew.
                if is_opaque(content) and not holds_picture(content) and self._nested_left >= end - begin:
                    self._nested_left -= end - begin
                    self._write(begin, end, b"")
                    self._report.dropped("exif.data")
                    places.append((begin, end))
        return places

    def _exif_within(self, tiff: bytes) -> bytes:
        """EXIF in resources in EXIF is not descended into any further: it goes where it holds a picture."""
        if not holds_pictures(tiff):
            return tiff
        self._report.dropped("exif.preview")
        return b""

    def _replace_picture(self, directory: _Directory, regions: list[tuple[int, int]], *, name: str) -> None:
        drawn = self._drawn(directory, regions)
        for begin, end in regions:
            self._write(begin, end, drawn or b"")
        if drawn is not None:
            self._report.redrawn(name)
            if (size := directory.entries.get(_JPEG_SIZE)) is not None and _JPEG_AT in directory.entries:
                form = _INTEGERS[size.kind]
                struct.pack_into(self._order + form, self.data, size.at, len(drawn))
            return
        self._report.dropped(name)
        if not directory.first:
            # Out of the chain, so that no reader takes the zeros for a picture.
            self.data[directory.pointer : directory.pointer + 4] = struct.pack(
                self._order + "I", self._number(directory.following)
            )

    def _drawn(self, directory: _Directory, regions: list[tuple[int, int]]) -> bytes | None:
        """A picture that fits in the place of a directory's; None where there is none."""
        if self._painter is None or len(regions) != 1:
            return None
        ((begin, end),) = regions
        old = bytes(self.data[begin:end])
        orientation = self.value(directory, _ORIENTATION)
        turned = orientation if 1 <= orientation <= 8 else None
        if _JPEG_AT in directory.entries or jpeg_end(old, 2) is not None:
            return self._painter.jpeg(old, room=end - begin, orientation=turned)
        width, height = self.value(directory, _WIDTH), self.value(directory, _HEIGHT)
        plain = (
            self.value(directory, _COMPRESSION) == _UNCOMPRESSED
            and self.value(directory, _PHOTOMETRIC) == _RGB
            and self.values(directory, _BITS) == [8, 8, 8]
            and self.value(directory, _PLANAR) in (0, 1)
            and end - begin == width * height * 3
        )
        pixels = self._painter.pixels(width, height, orientation=turned) if plain else None
        return None if pixels is None else np.ascontiguousarray(pixels).tobytes()

    def _replace_found(self, begin: int, end: int, kind: str) -> None:
        drawn = None
        if kind == JPEG and self._painter is not None:
            drawn = self._painter.jpeg(bytes(self.data[begin:end]), room=end - begin)
        self._write(begin, end, drawn or b"", padding=b" " if kind == TEXT else b"\0")
        if drawn is None:
            self._report.dropped("exif.preview")
        else:
            self._report.redrawn("exif.preview")

    def _write(self, begin: int, end: int, content: bytes, *, padding: bytes = b"\0") -> None:
        self.data[begin:end] = content + padding * (end - begin - len(content))
        self.changed = True


def _regions(block: _Block, directory: _Directory) -> list[tuple[int, int]]:
    """Where a directory's own picture is: (begin, end) of each part that lies in the block; parts that join as one."""
    pairs: list[tuple[int, int]] = []
    for places, sizes in ((_JPEG_AT, _JPEG_SIZE), (_STRIPS, _STRIP_SIZES), (_TILES, _TILE_SIZES)):
        pairs += zip(block.values(directory, places), block.values(directory, sizes), strict=False)
    joined: list[tuple[int, int]] = []
    for offset, size in pairs:
        begin, end = offset, min(offset + size, len(block.data))
        if begin < 8 or begin >= end:
            continue
        if joined and joined[-1][1] == begin:
            joined[-1] = joined[-1][0], end
        elif (begin, end) not in joined:
            joined.append((begin, end))
    return joined
