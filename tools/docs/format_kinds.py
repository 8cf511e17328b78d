"""Files as phones, cameras and programs write them, each with a face; and what must not be left of them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from tests.photos import companion_files as files
from tests.photos.c2pa_files import signed_by_camera
from tests.photos.heif_files import avif, heic
from tests.photos.metadata import blocks


@dataclass(frozen=True)
class Kind:
    """One kind of file; ``secrets`` are bytes of it that show the face once more."""

    data: bytes
    secrets: tuple[bytes, ...] = ()


Make = Callable[[np.ndarray], Kind]


def saved(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    """By Pillow."""
    out = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(out, kind, **options)
    return out.getvalue()


def _jpeg(**options: object) -> Make:
    return lambda face: Kind(saved(face, "JPEG", **{"quality": 90, **options}))


def _exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = orientation, "Maker"
    return tags.tobytes()


def _turned(face: np.ndarray) -> Kind:
    return Kind(saved(np.rot90(face), "JPEG", quality=90, exif=_exif(6)))


def _thumbnail(face: np.ndarray) -> bytes:
    return saved(cv2.resize(face, (160, 160)), "JPEG", quality=80)


def _with_thumbnail(face: np.ndarray) -> Kind:
    small = _thumbnail(face)
    block = blocks.segment(0xE1, b"Exif\0\0" + blocks.exif_thumbnail(old=small))
    return Kind(blocks.with_segments(saved(face, "JPEG", quality=90), block), (small,))


def _signed(kind: str, mime: str) -> Make:
    def make(face: np.ndarray) -> Kind:
        small = _thumbnail(face)
        return Kind(signed_by_camera(saved(face, kind), mime=mime, thumbnail=small), (small,))

    return make


def _photoshop(face: np.ndarray) -> Kind:
    small = _thumbnail(face)
    head = struct.pack(">IIIIIIHH", 1, 160, 160, 480, 76800, len(small), 24, 1)
    block = b"Photoshop 3.0\0" + blocks.resources(0x0409, head + small) + blocks.resources(0x040C, head + small)
    return Kind(blocks.with_segments(saved(face, "JPEG", quality=90), blocks.segment(0xED, block)), (small,))


def _samples_in_comment(face: np.ndarray) -> Kind:
    gray = cv2.cvtColor(cv2.resize(face, (112, 112)), cv2.COLOR_RGB2GRAY).tobytes()
    return Kind(blocks.with_segments(saved(face, "JPEG", quality=90), blocks.segment(0xFE, gray)), (gray,))


def _compressed_preview(face: np.ndarray) -> Kind:
    packed = zlib.compress(_thumbnail(face))
    tiff = blocks.tiff(blocks.MAKER, {0x927C: ("U", b"Maker\0\0\1" + packed)})
    block = blocks.segment(0xE1, b"Exif\0\0" + tiff)
    return Kind(blocks.with_segments(saved(face, "JPEG", quality=90), block), (packed,))


def _png_with_thumbnail(face: np.ndarray) -> Kind:
    small = _thumbnail(face)
    return Kind(saved(face, "PNG", exif=b"Exif\0\0" + blocks.exif_thumbnail(old=small)), (small,))


def _opencv(parameters: list[int], pixels: Callable[[np.ndarray], np.ndarray] = lambda face: face) -> Make:
    def make(face: np.ndarray) -> Kind:
        done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels(face), cv2.COLOR_RGB2BGR), parameters)
        assert done
        return Kind(data.tobytes())

    return make


def _sampled(factor: int) -> Make:
    return _opencv([cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_QUALITY, 92])


def _adobe_rgb(face: np.ndarray) -> Kind:
    return Kind(saved(face, "JPEG", quality=90, keep_rgb=True))


def _sixteen(face: np.ndarray) -> Kind:
    done, data = cv2.imencode(".png", cv2.cvtColor(face, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257)
    assert done
    return Kind(data.tobytes())


def _palette(face: np.ndarray) -> Kind:
    image = Image.fromarray(face).quantize(255)
    return Kind(saved(image, "PNG", transparency=3))


def _alpha(face: np.ndarray) -> np.ndarray:
    return np.dstack([face, np.full(face.shape[:2], 200, np.uint8)])


def _texts(face: np.ndarray) -> Kind:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a walk")
    return Kind(saved(face, "PNG", pnginfo=info, dpi=(300, 300), icc_profile=bytes(range(256)) * 2))


def _walk(face: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(np.roll(face, 4 * step, axis=1)) for step in range(3)]


def _moving(kind: str, **options: object) -> Make:
    def make(face: np.ndarray) -> Kind:
        frames = _walk(face)
        timing: dict[str, object] = {"duration": [90, 40, 200], "loop": 2}
        return Kind(saved(frames[0], kind, save_all=True, append_images=frames[1:], **timing, **options))

    return make


def _burst(face: np.ndarray) -> Kind:
    second = saved(255 - face, "JPEG", quality=70)
    frames = [Image.fromarray(face), Image.fromarray(255 - face)]
    return Kind(saved(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=70), (second[200:],))


def _samsung(face: np.ndarray) -> Kind:
    original = saved(face, "JPEG", quality=60)
    trailer = files.samsung_trailer((0x0A30, b"MotionPhoto_Data", files.VIDEO), (0x0C61, b"Original_Path", original))
    return Kind(saved(face, "JPEG", quality=90) + trailer, (files.VIDEO, original))


def _plain(make: Callable[..., bytes], **options: object) -> Make:
    return lambda face: Kind(make(face, **options))


def _raw(head: bytes) -> Make:
    return lambda _: Kind(head + bytes(2000))


KINDS: dict[str, Make] = {
    "JPEG 4:2:0": _jpeg(subsampling="4:2:0"),
    "JPEG 4:2:2": _jpeg(subsampling="4:2:2"),
    "JPEG 4:4:4": _jpeg(subsampling="4:4:4"),
    "JPEG 4:4:0": _sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    "JPEG 4:1:1": _sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411),
    "JPEG, gray": lambda face: Kind(saved(Image.fromarray(face).convert("L"), "JPEG", quality=90)),
    "JPEG, RGB (Adobe, no transform)": _adobe_rgb,
    "JPEG, progressive": _jpeg(progressive=True),
    "JPEG, progressive with restarts": _jpeg(progressive=True, restart_marker_blocks=8),
    "JPEG, restart intervals": _jpeg(restart_marker_rows=1),
    "JPEG, turned by EXIF": _turned,
    "JPEG, EXIF thumbnail": _with_thumbnail,
    "JPEG, ICC profile": _jpeg(icc_profile=bytes(range(256)) * 4),
    "JPEG without its end marker": lambda face: Kind(saved(face, "JPEG", quality=90)[:-2]),
    "JPEG, Ultra HDR (hdrgm)": lambda face: Kind(files.ultra_hdr(face), (files.gain_map(face)[-4000:],)),
    "JPEG, Ultra HDR (ISO 21496-1)": lambda f: Kind(files.ultra_hdr(f, says="iso"), (files.gain_map(f)[-4000:],)),
    "JPEG, Apple gain map": lambda f: Kind(files.ultra_hdr(f, says="apple"), (files.gain_map(f)[-4000:],)),
    "JPEG, motion photo (Google)": lambda face: Kind(files.ultra_hdr(face, video=files.VIDEO), (files.VIDEO,)),
    "JPEG, motion photo (Samsung)": _samsung,
    "JPEG, MPO burst": _burst,
    "JPEG, signed by a camera (C2PA)": _signed("JPEG", "image/jpeg"),
    "JPEG, Photoshop's thumbnail": _photoshop,
    "JPEG, samples in a comment": _samples_in_comment,
    "JPEG, compressed preview in a maker note": _compressed_preview,
    "JPEG, CMYK": lambda face: Kind(saved(Image.fromarray(face).convert("CMYK"), "JPEG")),
    "PNG": lambda face: Kind(saved(face, "PNG")),
    "PNG, alpha": lambda face: Kind(saved(_alpha(face), "PNG")),
    "PNG, gray": lambda face: Kind(saved(Image.fromarray(face).convert("L"), "PNG")),
    "PNG, 16 bits": _sixteen,
    "PNG, palette with transparency": _palette,
    "PNG, texts and profile": _texts,
    "PNG, EXIF thumbnail": _png_with_thumbnail,
    "PNG, signed by a camera (C2PA)": _signed("PNG", "image/png"),
    "PNG, animated (APNG)": _moving("PNG"),
    "WebP, lossy": lambda face: Kind(saved(face, "WEBP", quality=85)),
    "WebP, lossless": lambda face: Kind(saved(face, "WEBP", lossless=True)),
    "WebP, alpha and profile": lambda f: Kind(saved(_alpha(f), "WEBP", quality=85, icc_profile=bytes(range(256)))),
    "WebP, animated": _moving("WEBP", lossless=True),
    "GIF, animated": _moving("GIF"),
    "GIF": lambda face: Kind(saved(face, "GIF")),
    "HEIC": _plain(heic),
    "HEIC, tiles": _plain(heic, tile_size=128),
    "HEIC, turned": lambda face: Kind(heic(np.rot90(face).copy(), exif=_exif(6))),
    "HEIC, 10 bits": lambda face: Kind(heic(face.astype(np.uint16) * 257)),
    "AVIF": _plain(avif),
    "AVIF, turned": lambda face: Kind(avif(np.rot90(face).copy(), exif=_exif(6))),
    "TIFF": lambda face: Kind(saved(face, "TIFF")),
    "BMP": lambda face: Kind(saved(face, "BMP")),
    "JPEG 2000": lambda face: Kind(saved(face, "JPEG2000")),
    "JPEG XL": _raw(b"\xff\x0a"),
    "PSD": _raw(b"8BPS\0\1"),
    "MP4": lambda _: Kind(files.VIDEO),
}
