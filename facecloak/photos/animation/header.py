"""How many frames an animation has, how large they are and how long each is shown, by its headers alone.

GIF89a; PNG Third Edition, 11.3.6 (APNG); RFC 9649, 2.7.1.1 (WebP).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from facecloak.photos.errors import PhotoDamaged, PhotoTooLarge, PhotoTruncated
from facecloak.photos.limits import PhotoLimits

_GIF = re.compile(rb"GIF8[79]a")
_PNG = b"\x89PNG\r\n\x1a\n"
_IMAGE, _EXTENSION, GIF_END = 0x2C, 0x21, 0x3B
_CONTROL, _APPLICATION = 0xF9, 0xFF
# Browsers show a frame that says 0 or 10 ms for 100 ms; what the file says is kept.
_HUNDREDTH_MS = 10
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


class AnimationFormat(StrEnum):
    """The formats of animations that are taken."""

    GIF = "GIF"
    APNG = "APNG"
    WEBP = "WEBP"


@dataclass(frozen=True)
class AnimationHeader:
    """What an animation says about itself.

    Attributes:
        durations_ms: of each frame.
        loop: how often it is shown; 0 is for ever, None where nothing says so, which is once.
    """

    format: AnimationFormat
    width: int
    height: int
    durations_ms: tuple[float, ...]
    loop: int | None

    @property
    def pixels(self) -> int:
        """Of all frames together."""
        return self.width * self.height * len(self.durations_ms)


def read_animation(data: bytes, limits: PhotoLimits) -> AnimationHeader | None:
    """The header of an animation of two frames and more, or of any GIF; None for anything else.

    Raises:
        PhotoTooLarge: more frames or pixels than ``limits`` allow.
        PhotoTruncated, PhotoDamaged: not a whole GIF.
    """
    found: AnimationHeader | None
    if _GIF.match(data):
        found = _read_gif(data, limits)
    elif data.startswith(_PNG):
        found = _read_apng(data, limits)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = _read_webp(data, limits)
    else:
        return None
    if found is None or (len(found.durations_ms) < 2 and found.format is not AnimationFormat.GIF):
        return None
    limits.check_size(found.width, found.height)
    frames = len(found.durations_ms)
    if frames > limits.max_frames:
        raise PhotoTooLarge(
            f"The animation has {frames} frames; at most {limits.max_frames} are taken.",
            limit="max_frames", max_frames=limits.max_frames, frames=frames,
        )  # fmt: skip
    if found.pixels > limits.max_animation_pixels:
        raise PhotoTooLarge(
            f"The animation's frames have {found.pixels} pixels; at most {limits.max_animation_pixels} are taken.",
            limit="max_animation_pixels", max_animation_pixels=limits.max_animation_pixels,
        )  # fmt: skip
    return found


def is_gif(data: bytes) -> bool:
    """Whether a file begins as a GIF does."""
    return _GIF.match(data) is not None


def gif_blocks(data: bytes, limits: PhotoLimits) -> Iterator[tuple[int, bytes, int, int]]:
    """(kind, label and first sub-block, begin, end) of each block behind the header, ending with the trailer."""
    if len(data) < 13:
        raise PhotoTruncated("The GIF ends before its picture does.")
    at = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    count = 0
    while True:
        count += 1
        limits.check_segments(count)
        if at >= len(data):
            raise PhotoTruncated("The GIF ends before its picture does.")
        begin, kind = at, data[at]
        if kind == GIF_END:
            yield kind, b"", begin, begin + 1
            return
        if kind == _IMAGE:
            if at + 11 > len(data):
                raise PhotoTruncated("The GIF ends before its picture does.")
            head = data[at + 1 : at + 10]
            at += 10 + (3 * 2 ** ((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0) + 1
        elif kind == _EXTENSION:
            if at + 3 > len(data):
                raise PhotoTruncated("The GIF ends before its picture does.")
            head = data[at + 1 : at + 3 + data[at + 2]]
            at += 2
        else:
            raise PhotoDamaged("The GIF has a block of no known kind.", offset=at)
        while True:
            if at >= len(data):
                raise PhotoTruncated("The GIF ends before its picture does.")
            size = data[at]
            at += 1 + size
            if not size:
                break
        yield kind, head, begin, at


def has_gif_metadata(data: bytes) -> bool:
    """Whether a GIF holds more than pictures and how they are shown: comments, texts, XMP, a profile."""
    return any(
        kind == _EXTENSION and head[0] != _CONTROL and not (head[0] == _APPLICATION and head[2:13] in _LOOPS)
        for kind, head, _, _ in gif_blocks(data, PhotoLimits())
    )


def _read_gif(data: bytes, limits: PhotoLimits) -> AnimationHeader:
    if len(data) < 13:
        raise PhotoTruncated("The GIF ends before its picture does.")
    width, height = struct.unpack_from("<HH", data, 6)
    durations: list[float] = []
    delay, loop = 0, None
    for kind, head, begin, _ in gif_blocks(data, limits):
        if kind == _EXTENSION and head[0] == _CONTROL and len(head) >= 6:
            delay = int.from_bytes(head[3:5], "little")
        elif kind == _EXTENSION and head[0] == _APPLICATION and head[2:13] in _LOOPS:
            at = begin + 3 + data[begin + 2]
            if data[at : at + 2] == b"\x03\x01":
                loop = int.from_bytes(data[at + 2 : at + 4], "little")
        elif kind == _IMAGE:
            left, top, across, down = struct.unpack_from("<HHHH", head)
            if left + across > width or top + down > height:
                raise PhotoDamaged("The GIF has a frame that reaches over its edge.")
            durations.append(delay * _HUNDREDTH_MS)
            delay = 0
    if not durations or not width or not height:
        raise PhotoDamaged("The GIF holds no picture.")
    return AnimationHeader(AnimationFormat.GIF, width, height, tuple(durations), loop)


def _read_apng(data: bytes, limits: PhotoLimits) -> AnimationHeader | None:
    """None for a still, or what is damaged in another way than an animation can be."""
    width = height = loop = 0
    durations: list[float] = []
    at, count, animated = len(_PNG), 0, False
    while at + 12 <= len(data):
        count += 1
        limits.check_segments(count)
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if end > len(data):
            return None
        if kind == b"IHDR" and size == 13:
            width, height = struct.unpack_from(">II", data, at + 8)
        elif kind == b"acTL" and size == 8:
            animated, loop = True, struct.unpack_from(">I", data, at + 12)[0]
        elif kind == b"fcTL" and size == 26:
            above, below = struct.unpack_from(">HH", data, at + 28)
            durations.append(1000 * above / (below or 100))
        elif kind == b"IEND":
            break
        at = end
    return AnimationHeader(AnimationFormat.APNG, width, height, tuple(durations), loop) if animated else None


def _read_webp(data: bytes, limits: PhotoLimits) -> AnimationHeader | None:
    width = height = loop = 0
    durations: list[float] = []
    at, count = 12, 0
    while at + 8 <= len(data):
        count += 1
        limits.check_segments(count)
        kind, size = struct.unpack_from("<4sI", data, at)
        inside, end = at + 8, at + 8 + size + size % 2
        if inside + size > len(data):
            return None
        if kind == b"VP8X" and size >= 10:
            width = 1 + int.from_bytes(data[inside + 4 : inside + 7], "little")
            height = 1 + int.from_bytes(data[inside + 7 : inside + 10], "little")
        elif kind == b"ANIM" and size >= 6:
            loop = int.from_bytes(data[inside + 4 : inside + 6], "little")
        elif kind == b"ANMF" and size >= 16:
            durations.append(int.from_bytes(data[inside + 12 : inside + 15], "little"))
        at = end
    return AnimationHeader(AnimationFormat.WEBP, width, height, tuple(durations), loop) if durations else None
