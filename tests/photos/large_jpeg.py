"""A JPEG of any size in little memory: rows of MCUs that a restart marker ends can be repeated."""

from __future__ import annotations

import cv2
import numpy as np

_MCU = 16
_SOF, _SOS = b"\xff\xc0", b"\xff\xda"


def large_jpeg(portrait: np.ndarray, *, width: int, height: int, top: int) -> bytes:
    """(height, width) of gray with ``portrait`` (H, W, 3; H a multiple of 16) in the middle of the rows from ``top``
    on, multiples of 16 all: what a phone with 200 megapixels sends, baseline and 4:2:0."""
    rows = portrait.shape[0]
    middle = np.full((rows, width, 3), 128, np.uint8)
    left = (width - portrait.shape[1]) // 2
    middle[:, left : left + portrait.shape[1]] = portrait
    head, shown = _rows(middle)
    _, gray = _rows(np.full((_MCU, width, 3), 128, np.uint8))
    above, below = top // _MCU, (height - top - rows) // _MCU
    parts = [*gray * above, *shown, *gray * below]
    at = head.index(_SOF) + 5
    head = head[:at] + height.to_bytes(2, "big") + head[at + 2 :]
    scan = b"".join(part + bytes((0xFF, 0xD0 + index % 8)) for index, part in enumerate(parts[:-1]))
    return head + scan + parts[-1] + b"\xff\xd9"


def _rows(pixels: np.ndarray) -> tuple[bytes, list[bytes]]:
    """All up to the picture's data, and that of each row of MCUs."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_RST_INTERVAL, -(-pixels.shape[1] // _MCU)]
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    assert done
    data = encoded.tobytes()
    begin = data.index(_SOS)
    begin += 2 + int.from_bytes(data[begin + 2 : begin + 4], "big")
    rows, at = [], begin
    for index in range(-(-pixels.shape[0] // _MCU)):
        end = data.index(bytes((0xFF, 0xD0 + index % 8)), at) if index < pixels.shape[0] // _MCU - 1 else len(data) - 2
        rows.append(data[at:end])
        at = end + 2
    return data[:begin], rows
