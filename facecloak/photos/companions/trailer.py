"""The parts that stand behind a JPEG's picture, told apart: pictures, a video, Samsung's blocks."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from facecloak.photos.errors import PhotoRefused
from facecloak.photos.heif.boxes import box_at
from facecloak.photos.jpeg_structure import read_structure
from facecloak.photos.limits import PhotoLimits

_SOI = b"\xff\xd8\xff"
_MOST_PICTURES, _MOST_PADDING, _MOST_BOXES = 16, 2**16, 10_000
# ISO base media: how a video begins.
_VIDEO = re.compile(rb"\0\0[\0\x01].ftyp", re.DOTALL)
_VIDEO_BOXES = frozenset(
    (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"mfra", b"uuid", b"meta", b"styp", b"sidx",
     b"udta", b"pnot", b"mpvd")
)  # fmt: skip
_SEF_HEAD, _SEF_TAIL = b"SEFH", b"SEFT"
_SEF_ENTRY = 12
_MOST_SEF_ENTRIES = 256
_MOTION_BLOCK = b"MotionPhoto"


@dataclass(frozen=True)
class SefBlock:
    """One of Samsung's named blocks: ``whole`` is all of it, with its head."""

    kind: int
    name: bytes
    whole: bytes

    @property
    def is_motion(self) -> bool:
        """Whether it is a motion photo's video, or is about it."""
        return self.name.startswith(_MOTION_BLOCK)


@dataclass
class Trailer:
    """What stands behind a picture.

    Attributes:
        pictures: whole JPEGs, in their order.
        video: a video that stands there as it is.
        blocks: Samsung's.
    """

    pictures: list[bytes] = field(default_factory=list)
    video: bytes | None = None
    blocks: list[SefBlock] = field(default_factory=list)

    @property
    def has_video(self) -> bool:
        return self.video is not None or any(block.is_motion for block in self.blocks)


def read_trailer(trailer: bytes, limits: PhotoLimits) -> Trailer:
    """Tells the parts apart; what is of no known kind is in none of them. Never raises."""
    found = Trailer()
    at = 0
    for begin, end in _pictures(trailer, limits):
        found.pictures.append(trailer[begin:end])
        at = end
    found.blocks, blocks_begin = _sef_blocks(trailer)
    video = _VIDEO.search(trailer, at, blocks_begin)
    if video is not None:
        begin = video.start()
        found.video = trailer[begin : _video_end(trailer, begin, blocks_begin)]
    return found


def sef_trailer(blocks: list[SefBlock]) -> bytes:
    """Blocks and their directory, as Samsung's phones write them."""
    body = b"".join(block.whole for block in blocks)
    entries, at = [], 0
    for block in blocks:
        entries.append(struct.pack("<HHII", 0, block.kind, len(body) - at, len(block.whole)))
        at += len(block.whole)
    directory = _SEF_HEAD + struct.pack("<II", 107, len(blocks)) + b"".join(entries)
    return body + directory + struct.pack("<I", len(directory)) + _SEF_TAIL


def _pictures(trailer: bytes, limits: PhotoLimits) -> Iterator[tuple[int, int]]:
    """(begin, end) of JPEGs one behind the other, with some padding between them."""
    at = 0
    for _ in range(_MOST_PICTURES):
        begin = trailer.find(_SOI, at, at + _MOST_PADDING)
        if begin < 0 or trailer[at:begin].strip(b"\0\xff"):
            return
        part = trailer[begin:]
        try:
            structure = read_structure(part, limits)
        except PhotoRefused:
            return
        if not structure.has_end:
            return
        at = begin + structure.end
        yield begin, at


def _video_end(trailer: bytes, begin: int, end: int) -> int:
    at = begin
    for _ in range(_MOST_BOXES):
        box = box_at(trailer, at, end)
        if box is None or box.kind not in _VIDEO_BOXES:
            break
        at = box.end
    return at


def _sef_blocks(trailer: bytes) -> tuple[list[SefBlock], int]:
    """Samsung's blocks by the directory at the file's end, and where the first one begins."""
    nothing: tuple[list[SefBlock], int] = ([], len(trailer))
    if len(trailer) < 20 or trailer[-4:] != _SEF_TAIL:
        return nothing
    size = int.from_bytes(trailer[-8:-4], "little")
    directory = len(trailer) - 8 - size
    if directory < 0 or size < _SEF_ENTRY or trailer[directory : directory + 4] != _SEF_HEAD:
        return nothing
    count = int.from_bytes(trailer[directory + 8 : directory + 12], "little")
    blocks: list[SefBlock] = []
    first = directory
    for index in range(min(count, _MOST_SEF_ENTRIES, size // _SEF_ENTRY - 1)):
        _, kind, back, length = struct.unpack_from("<HHII", trailer, directory + 12 + _SEF_ENTRY * index)
        begin = directory - back
        if begin < 0 or length < 8 or begin + length > directory:
            continue
        whole = trailer[begin : begin + length]
        name = whole[8 : 8 + min(int.from_bytes(whole[4:8], "little"), 64)]
        blocks.append(SefBlock(kind, name, whole))
        first = min(first, begin)
    return blocks, first
