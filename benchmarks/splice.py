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
LIMITS = {1920: 0.30, 4032: 0.22}
"""By a made photo's width: the share of the other way's time that a mask which moves and paints may take."""


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
            "one face of 25 % of the height, its place and mesh given; a mask in the face's own frame that moves and "
            "paints, the default, one that paints alone, or one of the aligned square that paints alone; processor "
            "time of one thread, in turns"
        ),
        "full_way": (
            "simplejpeg decode, the same mask fitted to the photo, the same change by OpenCV, simplejpeg encode at the "
            "quality (camera: 90)"
        ),
        "limits": {str(width): limit for width, limit in LIMITS.items()},
        "worst_ratio": max(photo["ratio"] for photo in photos),
        "worst_ratio_paint": max(photo["ratio_paint"] for photo in photos),
        "worst_ratio_square": max(photo["ratio_square"] for photo in photos),
        "beyond_limit": [
            f"{photo['width']}x{photo['height']} quality {photo['quality']}: {photo['ratio']}"
            for photo in photos
            if photo["quality"] and photo["ratio"] > LIMITS.get(photo["width"], 1.0)
        ],
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

    from facecloak.call_context import unobserved
    from facecloak.cloaking.blend import add_in_place
    from facecloak.cloaking.photo_session import EncodingPath, PhotoSession
    from facecloak.masks.mask import MaskGeometry
    from facecloak.photos import DEFAULT_LIMITS

    def session() -> PhotoSession:
        return PhotoSession(data, limits=DEFAULT_LIMITS, observer=unobserved)

    width, height = session().width, session().height
    face = face or _middle_face(width, height)
    masks = {
        "": some_mask(moves=True),
        ", paint alone": some_mask(),
        ", square mask": some_mask(MaskGeometry.SQUARE),
    }

    def full(mask: Any) -> bytes:
        pixels = simplejpeg.decode_jpeg(data)
        change(pixels, mask)
        return simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420")

    def change(pixels: np.ndarray, mask: Any) -> None:
        add_in_place(pixels, place_fitted(pixels, mask, face))

    def spliced(mask: Any) -> bytes:
        photo = session()
        pieces, path = photo.added([photo.place(mask, face, mesh=face.mesh)])
        assert path is EncodingPath.SPLICED
        return pieces.joined() if not isinstance(pieces, bytes) else pieces

    blank = simplejpeg.decode_jpeg(data)
    candidates: dict[str, Callable[[], object]] = {
        "copy": lambda: b"".join([memoryview(data)[:9], memoryview(data)[9:]])
    }
    # Each thing that is done, in turns: what the face's own change costs is in both.
    for name, mask in masks.items():
        candidates[f"splice{name}"] = partial(spliced, mask)
        candidates[f"full{name}"] = partial(full, mask)
        candidates[f"change{name}"] = partial(change, blank, mask)
    timings: dict[str, Timing] = take_turns(candidates, runs=runs, warm_up=2, clock_ns=time.thread_time_ns)
    ms = {name: timing.median_ms for name, timing in timings.items()}
    return {
        "width": width,
        "height": height,
        "bytes": len(data),
        "bytes_added": len(spliced(masks[""])) - len(data),
        "timings": {name: timing.as_json() for name, timing in timings.items()},
        "ratio": round(ms["splice"] / ms["full"], 3),
        "ratio_paint": round(ms["splice, paint alone"] / ms["full, paint alone"], 3),
        "ratio_square": round(ms["splice, square mask"] / ms["full, square mask"], 3),
    }


def place_fitted(pixels: np.ndarray, mask: Any, face: Any) -> Any:
    """The mask on a face of decoded pixels, fitted to how they show the face."""
    from facecloak.cloaking.placement import place_mask
    from facecloak.faces import aligned_crop

    return place_mask(mask, face, mesh=face.mesh, crop_u8=aligned_crop(pixels, face.landmarks))


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
