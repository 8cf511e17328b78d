"""Damaged photos, without end: seeds of every kind that is taken, and what chance does to them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_INTERESTING = (0x00, 0x01, 0x7F, 0x80, 0xC0, 0xC2, 0xC4, 0xD0, 0xD7, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xFE, 0xFF)


def jpeg_seeds() -> list[bytes]:
    """Small JPEGs (a few KB) of each sampling, quality, table and restart interval, some with metadata."""
    rng = np.random.default_rng(7)
    seeds = []
    for width, height in ((16, 16), (33, 47), (96, 72)):
        noise = rng.normal(128, 40, (height, width, 3))
        picture = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
        for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
            for quality, options in (
                (30, {}), (90, {"optimize": True}), (75, {"restart_marker_blocks": 1}),
                (95, {"restart_marker_rows": 1, "optimize": True}), (85, {"progressive": True}),
            ):  # fmt: skip
                seeds.append(_jpeg(picture, quality=quality, subsampling=subsampling, **options))
        seeds.append(_jpeg(picture.convert("L"), quality=80))
        seeds.append(_jpeg(picture, quality=80, keep_rgb=True))
        exif = Image.Exif()
        exif[0x0112] = 6
        seeds.append(_jpeg(picture, quality=70, exif=exif.tobytes(), comment=b"a comment"))
    seeds.append(_jpeg(_smooth_with_a_rough_corner(rng), quality=92, optimize=True))
    return seeds


def _smooth_with_a_rough_corner(rng: np.random.Generator) -> Image.Image:
    """Its own Huffman tables have long codes and few symbols: most changes need new tables."""
    y, x = np.mgrid[0:180, 0:240]
    pixels = (100 + 40 * np.sin(x / 40) + 30 * np.cos(y / 50))[:, :, None] + rng.normal(0, 1, (180, 240, 3))
    pixels[:24, :24] += rng.normal(0, 40, (24, 24, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def other_seeds() -> list[bytes]:
    """Small PNG and WebP files."""
    picture = Image.fromarray(np.random.default_rng(8).integers(0, 256, (48, 64, 3)).astype(np.uint8))
    seeds = []
    for image in (picture, picture.convert("L"), picture.convert("P"), picture.convert("RGBA")):
        seeds.append(_saved(image, "PNG"))
    seeds += [_saved(picture, "WEBP", quality=80), _saved(picture.convert("RGBA"), "WEBP", lossless=True)]
    return seeds


def mutated(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """One of the seeds, changed in one to four ways."""
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        at = int(rng.integers(len(data)))
        # Some more changes fall in the header, which is a small part of a file and most of what a parser believes.
        if rng.random() < 0.2:
            at = int(rng.integers(min(len(data), 700)))
        match int(rng.integers(9)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.integers(256))
            case 2 | 3:
                data[at] = _INTERESTING[int(rng.integers(len(_INTERESTING)))]
            case 4:
                del data[at : at + int(rng.integers(1, 40))]
            case 5:
                data[at:at] = rng.integers(0, 256, int(rng.integers(1, 20))).astype(np.uint8).tobytes()
            case 6:
                data[at:at] = bytes((0xFF, _INTERESTING[int(rng.integers(len(_INTERESTING)))]))
            case 7:
                other = seeds[rng.integers(len(seeds))]
                begin = int(rng.integers(len(other)))
                data[at : at + 64] = other[begin : begin + int(rng.integers(1, 200))]
            case _ if rng.random() < 0.2:
                del data[at:]
            case _:
                data[at : at + 2] = int(rng.integers(65536)).to_bytes(2, "big")
    return bytes(data)


def _jpeg(image: Image.Image, **options: object) -> bytes:
    return _saved(image, "JPEG", **options)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()
