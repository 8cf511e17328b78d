"""The splice codec against decoding, adding and encoding anew, on one thread's processor time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import photo
from benchmarks.service import some_mask
from benchmarks.timing import Timing, take_turns

SIZES = ((1280, 960), (1920, 1080), (4032, 3024))
QUALITIES = (85, 90, 92)
FACE_SHARE = 0.25
LIMIT = 0.22


def measure(model_repository: Path, *, runs: int) -> dict[str, Any]:
    """Median ms of both ways for one face of a quarter of the height: made photos of three sizes and qualities, and
    camera photos where there are any; the face's place is given."""
    import cv2

    from facecloak.faces import FaceFinder

    cv2.setNumThreads(1)
    finder = FaceFinder.load(model_repository)
    photos = []
    for width, height in SIZES:
        pixels = photo(width=width, height=height)
        face = finder.find(pixels)[0]
        for quality in QUALITIES:
            data = _encoded(pixels, quality)
            photos.append({"photo": "astronaut", "quality": quality, **_compared(data, face, quality, runs=runs)})
    for path in camera_photos():
        data = path.read_bytes()
        photos.append({"photo": path.name, "quality": None, **_compared(data, None, 90, runs=runs)})
    return {
        "what": (
            "one face of 25 % of the height, its place and mesh given; a mask in the face's own frame, the default, or "
            "of the aligned square; processor time of one thread, in turns"
        ),
        "full_way": "simplejpeg decode, the same change added by OpenCV, simplejpeg encode at the quality (camera: 90)",
        "limit": LIMIT,
        "worst_ratio": max(photo["ratio"] for photo in photos),
        "worst_ratio_square": max(photo["ratio_square"] for photo in photos),
        "photos": photos,
    }


def camera_photos() -> list[Path]:
    """Camera photos of a megapixel and more, where the folder of shared photos is there."""
    folder = Path(os.environ.get("FACECLOAK_SHARED") or Path(__file__).parents[2] / "shared") / "photos" / "phones"
    names = ("mobile-HMD_Nokia_8.3_5G.jpg", "mobile-jolla.jpg", "exif-org-sony-powershota5.jpg")
    return [folder / name for name in names if (folder / name).exists()]


def _encoded(pixels: np.ndarray, quality: int) -> bytes:
    import simplejpeg

    return simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420")


def _compared(data: bytes, face: Any, quality: int, *, runs: int) -> dict[str, Any]:
    import simplejpeg

    from facecloak.cloaking.placement import place_mask
    from facecloak.masks.mask import MaskGeometry
    from facecloak.photos import DEFAULT_LIMITS
    from facecloak.photos.splice import JpegSplice

    splice = JpegSplice(data, limits=DEFAULT_LIMITS)
    width, height = splice.width, splice.height
    face = face or _middle_face(width, height)
    masks = {geometry: some_mask(geometry) for geometry in MaskGeometry}

    def placed(geometry: MaskGeometry) -> Any:
        return place_mask(masks[geometry], face, mesh=face.mesh)

    def full(geometry: MaskGeometry) -> bytes:
        pixels = simplejpeg.decode_jpeg(data)
        _add(pixels, placed(geometry))
        return simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420")

    def spliced(geometry: MaskGeometry) -> bytes:
        pieces = JpegSplice(data, limits=DEFAULT_LIMITS).added([placed(geometry)])
        assert pieces is not None
        return pieces.joined()

    blank = np.zeros((height, width, 3), np.uint8)
    # Each thing that is done, in turns: what the face's own change costs is in both.
    candidates: dict[str, Callable[[], object]] = {
        "splice": partial(spliced, MaskGeometry.FACE),
        "full": partial(full, MaskGeometry.FACE),
        "change": lambda: _add(blank, placed(MaskGeometry.FACE)),
        "splice, square mask": partial(spliced, MaskGeometry.SQUARE),
        "full, square mask": partial(full, MaskGeometry.SQUARE),
        "change, square mask": lambda: _add(blank, placed(MaskGeometry.SQUARE)),
        "copy": lambda: b"".join([memoryview(data)[:9], memoryview(data)[9:]]),
    }
    timings: dict[str, Timing] = take_turns(candidates, runs=runs, warm_up=2, clock_ns=time.thread_time_ns)
    ms = {name: timing.median_ms for name, timing in timings.items()}
    return {
        "width": width,
        "height": height,
        "bytes": len(data),
        "bytes_added": len(spliced(MaskGeometry.FACE)) - len(data),
        "timings": {name: timing.as_json() for name, timing in timings.items()},
        "ratio": round(ms["splice"] / ms["full"], 3),
        "ratio_square": round(ms["splice, square mask"] / ms["full, square mask"], 3),
    }


def _add(pixels: np.ndarray, placement: Any) -> None:
    import cv2

    left, top, right, bottom = placement.bounds(width=pixels.shape[1], height=pixels.shape[0])
    part = pixels[top:bottom, left:right]
    change = placement.change(left=left, top=top, width=right - left, height=bottom - top)
    part[:] = cv2.add(part, change, dtype=cv2.CV_8U)


def _middle_face(width: int, height: int) -> Any:
    """The mean face, a quarter of the height, in the middle, upright."""
    from facecloak.faces import ARCFACE_TEMPLATE, Box, Face
    from facecloak.faces.shape import face_shape

    side = FACE_SHARE * height
    # The box about a face is 108 px of the aligned crop high.
    scale = side / 108
    landmarks = (ARCFACE_TEMPLATE - 56) * scale + (width / 2, height / 2)
    mesh = face_shape().mean * scale
    mesh[:, :2] += (width / 2 - 56 * scale, height / 2 - 56 * scale)
    box = Box(width / 2 - side / 2, height / 2 - side / 2, side, side)
    return Face(box=box, landmarks=landmarks.astype(np.float32), score=1.0, mesh=mesh)
