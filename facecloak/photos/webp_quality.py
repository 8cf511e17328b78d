"""The quality that a lossy WebP was encoded with, from its frame header (RFC 6386 sections 7, 9 and 19.2)."""

from __future__ import annotations

import statistics

from facecloak.photos.errors import PhotoDamaged

_FRAME_HEADER_BYTES = 10
_SEGMENTS = 4


class _BoolReader:
    """RFC 6386 section 7: the boolean entropy decoder, for even odds (all that the frame header uses)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 2
        self._value = int.from_bytes(data[:2], "big")
        self._range = 255
        self._shifted = 0

    def flag(self) -> bool:
        split = 1 + (((self._range - 1) * 128) >> 8)
        big_split = split << 8
        taken = self._value >= big_split
        if taken:
            self._range -= split
            self._value -= big_split
        else:
            self._range = split
        while self._range < 128:
            self._value <<= 1
            self._range <<= 1
            self._shifted += 1
            if self._shifted == 8:
                self._shifted = 0
                self._value |= self._data[self._at] if self._at < len(self._data) else 0
                self._at += 1
        return taken

    def literal(self, bits: int) -> int:
        value = 0
        for _ in range(bits):
            value = value << 1 | self.flag()
        return value

    def signed(self, bits: int) -> int:
        magnitude = self.literal(bits)
        return -magnitude if self.flag() else magnitude

    def optional_signed(self, bits: int) -> int:
        return self.signed(bits) if self.flag() else 0


def lossy_quality(vp8: bytes) -> int:
    """libwebp's quality 0..100 for a "VP8 " chunk's payload, estimated; usually within 5 of what the encoder was given.

    Raises:
        PhotoDamaged: no key frame header.
    """
    if len(vp8) < _FRAME_HEADER_BYTES + 2 or vp8[3:6] != b"\x9d\x01\x2a":
        raise PhotoDamaged("The WebP's picture data is damaged.")
    quantizer = _mean_quantizer(_BoolReader(vp8[_FRAME_HEADER_BYTES:]))
    # libwebp, quant_enc.c, QualityToCompression: quantizer = 127 * (1 - cbrt(f(quality / 100))), f two straight lines.
    linear = (1 - min(quantizer, 127) / 127) ** 3
    quality = linear * 1.5 if linear < 0.5 else (linear + 1) / 2
    return round(100 * quality)


def _mean_quantizer(reader: _BoolReader) -> float:
    reader.literal(2)  # color space, clamping
    segment_values: list[int] = []
    absolute = False
    if reader.flag():
        update_map, update_data = reader.flag(), reader.flag()
        if update_data:
            absolute = reader.flag()
            segment_values = [reader.optional_signed(7) for _ in range(_SEGMENTS)]
            for _ in range(_SEGMENTS):
                reader.optional_signed(6)
        if update_map:
            for _ in range(3):
                if reader.flag():
                    reader.literal(8)
    reader.literal(1 + 6 + 3)  # loop filter type, level, sharpness
    if reader.flag() and reader.flag():
        for _ in range(8):
            reader.optional_signed(6)
    reader.literal(2)  # partitions
    base = reader.literal(7)
    if not segment_values:
        return base
    return statistics.fmean(value if absolute else base + value for value in segment_values)
