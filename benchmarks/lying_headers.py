"""Files whose headers state another size, or another number of frames, than their data has; and as many frames as are
taken."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

# Square, so that 200 frames are just below 67 megapixels.
_SIDE, _FRAMES = 576, 200


def lying_files() -> dict[str, Callable[[], bytes]]:
    """What each is, and how it is made."""
    return {
        "JPEG whose header states 64 x 64, 12 MP of data": lambda: restated(_noise_jpeg(), 64, 64),
        "JPEG, progressive, whose header states 64 x 64, 12 MP of data": lambda: restated(
            _noise_jpeg(progressive=True), 64, 64
        ),
        "JPEG whose header states 67 MP, 12 MP of data": lambda: restated(_noise_jpeg(), 16384, 4096),
        "JPEG, progressive, whose header states 67 MP, 12 MP of data": lambda: restated(
            _noise_jpeg(progressive=True), 16384, 4096
        ),
        "JPEG whose header states 67 MP, a restart interval of 1 and 2 KB": lambda: restated(
            _saved(_flat(64, 64), "JPEG", restart_marker_blocks=1), 16384, 4096
        ),
        "WebP whose canvas is 16 x 16, picture of 50 MP": lambda: _webp_on_canvas(8000, 6250, canvas=(16, 16)),
        "WebP whose canvas is 67 MP, picture of 16 x 16": lambda: _webp_on_canvas(16, 16, canvas=(16383, 4096)),
        "WebP, animation of 200 frames, 66 MP": _animation,
        "WebP, animation whose frames are larger than it states": lambda: webp_frames_on_canvas(16, 16),
        "APNG that states 100,000 frames and has 2": lambda: _apng_that_states(100_000, frames=2),
        "APNG that states 2 frames and has 200": lambda: _apng_that_states(2, frames=200),
    }


def restated(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header states another size."""
    at = next(at for at in (data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) if at >= 0) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def _flat(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), (120, 90, 60), np.uint8)


def _saved(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def _noise_jpeg(**options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
    return _saved(noise, "JPEG", quality=60, **options)


def _riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2) for kind, payload in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _canvas(width: int, height: int, *, flags: int) -> tuple[bytes, bytes]:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", struct.pack("<I", flags) + sides


def _lossless(width: int, height: int) -> tuple[bytes, bytes]:
    plain = _saved(_flat(width, height), "WEBP", lossless=True)
    return b"VP8L", plain[20 : 20 + int.from_bytes(plain[16:20], "little")]


def _webp_on_canvas(width: int, height: int, *, canvas: tuple[int, int]) -> bytes:
    return _riff(_canvas(*canvas, flags=0), _lossless(width, height))


def webp_frames_on_canvas(width: int, height: int, *, side: int = _SIDE) -> bytes:
    """An animation of frames of ``side`` px on a canvas that states another size."""
    kind, payload = _lossless(side, side)
    picture = kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)
    sides = (side - 1).to_bytes(3, "little") * 2
    frame = bytes(6) + sides + (40).to_bytes(3, "little") + b"\0" + picture
    return _riff(_canvas(width, height, flags=2), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * _FRAMES)


def _animation() -> bytes:
    """Frames of one color each, which are small."""
    colors = [(number, 255 - number, 90) for number in range(_FRAMES)]
    frames = [Image.new("RGB", (_SIDE, _SIDE), color) for color in colors]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=40, lossless=True)
    return out.getvalue()


def _apng_that_states(stated: int, *, frames: int) -> bytes:
    pictures = [Image.new("RGB", (64, 64), (number, 0, 0)) for number in range(frames)]
    out = io.BytesIO()
    pictures[0].save(out, "PNG", save_all=True, append_images=pictures[1:], duration=40)
    data = out.getvalue()
    at = data.index(b"acTL")
    payload = b"acTL" + struct.pack(">II", stated, 0)
    return data[:at] + payload + struct.pack(">I", zlib.crc32(payload)) + data[at + 16 :]
