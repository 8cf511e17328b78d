"""Files made to cost more than they should, each within what a photo may have: 32 MiB and 67 megapixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from benchmarks.lying_headers import lying_files, restated
from benchmarks.pictures import jpeg, photo

MEBIBYTE = 2**20
_ROOM = 31 * MEBIBYTE
_PNG = b"\x89PNG\r\n\x1a\n"


def hostile_files() -> dict[str, Callable[[], bytes]]:
    """What each is, and how it is made; small ones are small on disk only."""
    return {
        "lossless WebP of one color, 50 MP": lambda: saved(flat(8000, 6250), "WEBP", lossless=True),
        "lossy WebP of one color, 67 MP": lambda: saved(flat(16383, 4095), "WEBP", method=0),
        "WebP, 1 x 16383": lambda: saved(flat(1, 16383), "WEBP", lossless=True),
        "WebP, animation of 1000 frames": animated_webp,
        "WebP whose data is cut": lambda: cut(saved(picture(2000, 1500), "WEBP"), riff=True),
        "WebP, 400 EXIF of 3600 directories, each in another": lambda: webp_with(b"EXIF", exif_chain(3600), times=400),
        "GIF, a frame of 1 x 1 on 64 MP": lambda: gif(1, 8000, 8000),
        "GIF, 200 frames of 1 x 1 on 65 MP": lambda: gif(200, 570, 570),
        "GIF, 100,000 frames of 1 x 1": lambda: gif(100_000, 100, 100),
        "GIF, 1 x 1 on 65535 x 65535": lambda: gif(2, 65535, 65535),
        "PNG, 16-bit RGBA of one color, 50 MP": lambda: flat_png(8000, 6250, depth=16, color=6),
        "PNG, 16-bit RGB interlaced, 12 MP": lambda: flat_png(4000, 3000, depth=16, color=2, interlaced=True),
        "PNG, 1-bit palette, 67 MP": lambda: flat_png(16384, 4096, depth=1, color=3),
        "PNG, 8-bit RGB, 67 MP": lambda: flat_png(16384, 4096, depth=8, color=2),
        "PNG, 1 x 16384": lambda: flat_png(1, 16384, depth=8, color=2),
        "PNG, 16384 x 1": lambda: flat_png(16384, 1, depth=16, color=6),
        "PNG, 8 x 8, 8-bit data that inflates to 31 GiB": lambda: inflating_png(depth=8),
        "PNG, 8 x 8, 16-bit data that inflates to 31 GiB": lambda: inflating_png(depth=16),
        "PNG, profile (iCCP) that inflates to 31 GiB": lambda: with_chunk(b"iCCP", b"p\0\0" + deflated_zeros(_ROOM)),
        "PNG, text (zTXt) that inflates to 31 GiB": lambda: with_chunk(b"zTXt", b"t\0\0" + deflated_zeros(_ROOM)),
        "PNG, text (iTXt) that inflates to 31 GiB": lambda: with_chunk(
            b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + deflated_zeros(_ROOM)
        ),
        "PNG, 9000 texts of 3 MiB each": lambda: with_chunk(b"zTXt", b"t\0\0" + deflated_zeros(3000), times=9000),
        "PNG, data in 9000 chunks": many_chunks,
        "PNG, 100,000 texts of 1 byte": lambda: with_chunk(b"tEXt", b"a\0b", times=100_000),
        "PNG, 3000 deflated XMP, 60,000 elements deep": lambda: with_chunk(b"iTXt", deep_xmp_text(), times=3000),
        "APNG of 1000 frames": lambda: with_chunk(b"acTL", struct.pack(">II", 1000, 0)),
        "PNG whose data is cut": lambda: cut(saved(picture(2000, 1500), "PNG")),
        "JPEG, baseline of one color, 67 MP": lambda: saved(flat(16384, 4096), "JPEG"),
        "JPEG, progressive of one color, 67 MP": lambda: saved(flat(16384, 4096), "JPEG", progressive=True),
        "JPEG, 64 scans, 16 MP": lambda: many_scans(4000, 4000),
        "JPEG, 24 scans, 67 MP": lambda: many_scans(16384, 4096, scans=24),
        "JPEG, 1 x 16384": lambda: saved(flat(1, 16384), "JPEG"),
        "JPEG, 16384 x 1": lambda: saved(flat(16384, 1), "JPEG"),
        "JPEG, 31 MiB of fill bytes": lambda: with_segment(b"\xff" * _ROOM),
        "JPEG, 31 MiB of fill bytes in the picture's data": lambda: in_scan(b"\xff" * _ROOM),
        "JPEG, 31 MiB of restart markers": lambda: in_scan(b"\xff\xd0\xff\xd1" * (_ROOM // 4)),
        "JPEG, a restart marker for each block, 20 MP": lambda: saved(
            flat(5000, 4000), "JPEG", restart_marker_blocks=1
        ),
        "JPEG, 9000 Huffman tables": lambda: with_segment(_table(b"\xff\xc4") * 9000),
        "JPEG, 9000 quantization tables": lambda: with_segment(_table(b"\xff\xdb") * 9000),
        "JPEG, 31 MiB of stray bytes between segments": lambda: with_segment(bytes(_ROOM)),
        "JPEG, EXIF whose directory follows itself": lambda: with_segment(_exif_loop()),
        "JPEG, EXIF of 5000 entries, each its own directory": lambda: with_segment(_exif_fan()),
        "JPEG, XMP whose entities grow": lambda: with_segment(_xmp_laughs()),
        "JPEG, EXIF of 3600 directories, each in another, 400 times": lambda: with_segment(
            segment(0xE1, b"Exif\0\0" + exif_chain(3600)) * 400
        ),
        "JPEG, 64,000 segments": lambda: with_segment(segment(0xE5, b"x") * 64_000),
        "JPEG, 60,000 scans of 64 x 64": lambda: many_scans(64, 64, scans=60_000),
        "JPEG, 40,000 pictures behind it": lambda: jpeg(picture(640, 480)) + saved(flat(8, 8), "JPEG") * 40_000,
        "JPEG, progressive, a restart marker for each block, 16 MP": lambda: saved(
            flat(4000, 4000), "JPEG", progressive=True, restart_marker_blocks=1
        ),
        "JPEG whose header states no height": lambda: restated(jpeg(picture(640, 480)), 640, 0),
        "JPEG, 31 MiB of extended XMP": lambda: with_segment(_extended_xmp()),
        "JPEG, 1000 pictures behind it (MPF)": lambda: with_segment(_mpf(1000)) + saved(flat(300, 200), "JPEG") * 1000,
        "JPEG whose header states 67 MP, 2 KB": lambda: restated(saved(flat(64, 64), "JPEG"), 16384, 4096),
        "JPEG whose data is cut": lambda: cut(jpeg(picture(2000, 1500))),
        **lying_files(),
    }


def flat(width: int, height: int) -> np.ndarray:
    """(H, W, 3) uint8 of one color."""
    return np.full((height, width, 3), (120, 90, 60), np.uint8)


def picture(width: int, height: int) -> np.ndarray:
    """A photo with a face."""
    return photo(width=width, height=height)


def saved(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def cut(data: bytes, *, riff: bool = False) -> bytes:
    """Three quarters of a file; a RIFF file states them."""
    part = data[: len(data) * 3 // 4 // 2 * 2]
    if riff:
        payload = len(part) - 20
        part = b"RIFF" + struct.pack("<I", len(part) - 8) + part[8:16] + struct.pack("<I", payload) + part[20:]
    return part


def deflated_zeros(size: int) -> bytes:
    """A zlib stream of about ``size`` bytes that inflates to about 1000 times as many zeros."""
    deflater = zlib.compressobj(9)
    first = deflater.compress(bytes(MEBIBYTE)) + deflater.flush(zlib.Z_FULL_FLUSH)
    again = deflater.compress(bytes(MEBIBYTE)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return first + again * (size // len(again)) + deflater.flush()


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png(width: int, height: int, *, depth: int, color: int, data: bytes, interlaced: bool = False) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    palette = chunk(b"PLTE", bytes(6)) if color == 3 else b""
    return _PNG + chunk(b"IHDR", header) + palette + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def flat_png(width: int, height: int, *, depth: int, color: int, interlaced: bool = False) -> bytes:
    """Zeros."""
    from facecloak.photos.png import _Header

    rows = _Header(width, height, depth, color, interlaced).inflated_bytes
    deflater = zlib.compressobj(9)
    data = b"".join(deflater.compress(bytes(min(MEBIBYTE, rows - at))) for at in range(0, rows, MEBIBYTE))
    return png(width, height, depth=depth, color=color, data=data + deflater.flush(), interlaced=interlaced)


def inflating_png(*, depth: int) -> bytes:
    return png(8, 8, depth=depth, color=2, data=deflated_zeros(_ROOM))


def with_chunk(kind: bytes, payload: bytes, *, times: int = 1) -> bytes:
    """A small photo as a PNG with a chunk in front of its picture."""
    plain = saved(picture(640, 480), "PNG")
    at = len(_PNG) + 25
    return plain[:at] + chunk(kind, payload) * times + plain[at:]


def many_chunks() -> bytes:
    plain = saved(picture(640, 480), "PNG")
    at = plain.index(b"IDAT") - 4
    size = int.from_bytes(plain[at : at + 4], "big")
    data = plain[at + 8 : at + 8 + size]
    pieces = np.array_split(np.frombuffer(data, np.uint8), 9000)
    return plain[:at] + b"".join(chunk(b"IDAT", piece.tobytes()) for piece in pieces) + plain[at + 12 + size :]


def animated_webp() -> bytes:
    frames = [Image.new("RGB", (64, 64), (number % 256, 0, 0)) for number in range(1000)]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], method=0)
    return out.getvalue()


def webp_with(kind: bytes, payload: bytes, *, times: int) -> bytes:
    """A small photo as a WebP, with chunks behind its picture."""
    body = saved(picture(640, 480), "WEBP")[12:]
    sides = (639).to_bytes(3, "little") + (479).to_bytes(3, "little")
    payload += bytes(len(payload) % 2)
    extended = b"VP8X" + struct.pack("<I", 10) + b"\x08\0\0\0" + sides
    riff = b"WEBP" + extended + body + (kind + struct.pack("<I", len(payload)) + payload) * times
    return b"RIFF" + struct.pack("<I", len(riff)) + riff


def gif(frames: int, width: int, height: int) -> bytes:
    """Frames of one pixel on a canvas of any size."""
    frame = b"\x21\xf9\4\0\5\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame * frames + b";"


def exif_chain(directories: int) -> bytes:
    """EXIF whose directories are each in the one before."""
    data = b"II*\0\x08\0\0\0"
    for number in range(1, directories + 1):
        at = 8 + 18 * number
        data += struct.pack("<HHHIII", 1, 0x8769 if number % 2 else 0x014A, 4, 1, at, at)
    return data


def deep_xmp_text() -> bytes:
    """An iTXt chunk's payload."""
    text = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + b"<a>" * 60_000 + b"</a>" * 60_000 + b"</x:xmpmeta>"
    return b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text, 9)


def with_segment(segments: bytes) -> bytes:
    """A small photo as a JPEG, with something behind its first marker."""
    plain = jpeg(picture(640, 480))
    return plain[:2] + segments + plain[2:]


def in_scan(data: bytes) -> bytes:
    """A small photo as a JPEG, with something in the middle of its coded data."""
    plain = jpeg(picture(640, 480))
    at = plain.index(b"\xff\xda") + 2000
    return plain[:at] + data + plain[at:]


def many_scans(width: int, height: int, *, scans: int = 64) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    plain = saved(flat(width, height), "JPEG", progressive=True)
    starts = list(_find(plain, b"\xff\xda"))
    last = plain[starts[-1] : -2]
    return plain[:-2] + last * (scans - len(starts)) + plain[-2:]


def _find(data: bytes, what: bytes) -> Iterator[int]:
    at = data.find(what)
    while at >= 0:
        yield at
        at = data.find(what, at + 1)


def _table(kind: bytes) -> bytes:
    plain = jpeg(picture(64, 64))
    at = plain.index(kind)
    return plain[at : at + 2 + int.from_bytes(plain[at + 2 : at + 4], "big")]


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _exif_loop() -> bytes:
    directory = struct.pack("<H", 1) + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    return segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + directory)


def _exif_fan() -> bytes:
    entries = b"".join(struct.pack("<HHII", 0x014A, 4, 5000, 8) for _ in range(5000))
    return segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5000) + entries + struct.pack("<I", 8))


def _xmp_laughs() -> bytes:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "lol"}">' for n in range(12))
    text = f'<?xml version="1.0"?><!DOCTYPE x [{entities}]><x:xmpmeta xmlns:x="adobe:ns:meta/">&e11;</x:xmpmeta>'
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + text.encode())


def _extended_xmp() -> bytes:
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32
    piece = b"<" * 65_000
    count = _ROOM // len(piece)
    return b"".join(
        segment(0xE1, head + struct.pack(">II", count * len(piece), number * len(piece)) + piece)
        for number in range(count)
    )


def _mpf(pictures: int) -> bytes:
    entries = b"".join(struct.pack(">IIIHH", 0, 1000, 1000 * number, 0, 0) for number in range(pictures))
    directory = struct.pack(">H", 2) + struct.pack(">HHII", 0xB001, 4, 1, pictures)
    directory += struct.pack(">HHII", 0xB002, 7, len(entries), 8 + 2 + 24 + 4) + struct.pack(">I", 0)
    return segment(0xE2, b"MPF\0MM\0*\0\0\0\x08" + directory + entries)
