"""What cloaking one JPEG takes, by size and by what the caller says about the face."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.pictures import jpeg, photo
from benchmarks.service import some_mask
from benchmarks.timing import take_turns

SIZES = ((1280, 960), (1920, 1080), (4032, 3024))
LIMITS = {1280: 0.45, 1920: 0.40, 4032: 0.30}
"""By a photo's width: the share of the full way's time that cloaking with a box may take."""
FULL_WAY = "decode, find in the box, lay, encode"


def measure(model_repository: Path, *, runs: int) -> dict[str, Any]:
    """The whole domain call with landmarks, with a box and with nothing, and the codec's share of it; a mask of the
    default geometry, which moves and paints, and with a hint one of the aligned square beside it; and doing the same
    with a box by decoding all of the photo and encoding all of it again."""
    import cv2

    from facecloak.cloaking.cloaker import Cloaker, MasksInMemory, Subject
    from facecloak.faces import FaceFinder
    from facecloak.masks.mask import MaskGeometry
    from facecloak.photos import decode_photo, encode_photo

    cv2.setNumThreads(1)
    finder = FaceFinder.load(model_repository)
    masks = {geometry.value: some_mask(geometry, moves=geometry is MaskGeometry.FACE) for geometry in MaskGeometry}

    cloaker = Cloaker(finder, MasksInMemory(masks))
    bent, square = MaskGeometry.FACE.value, MaskGeometry.SQUARE.value
    results = []
    for width, height in SIZES:
        data = jpeg(photo(width=width, height=height))
        decoded = decode_photo(data)
        face = finder.find(decoded.srgb_u8)[0]
        changed = decoded.srgb_u8 ^ 1  # encode_photo gives an unchanged photo back as it came
        hints = {
            "cloak, landmarks given": Subject(bent, landmarks=face.landmarks),
            "cloak, box given": Subject(bent, box=face.box),
            "cloak, nothing given": Subject(bent),
            "cloak, landmarks given, square mask": Subject(square, landmarks=face.landmarks),
            "cloak, box given, square mask": Subject(square, box=face.box),
        }
        candidates: dict[str, Callable[[], object]] = {
            name: partial(cloaker.cloak, data, [subject]) for name, subject in hints.items()
        }
        candidates[FULL_WAY] = partial(_full_way, data, finder, masks[bent], face.box)
        candidates["decode only"] = partial(decode_photo, data)
        candidates["encode only"] = partial(encode_photo, decoded, changed)
        outcomes = {name: cloaker.cloak(data, [subject]).subjects[0].outcome.value for name, subject in hints.items()}
        timings = take_turns(candidates, runs=runs, clock_ns=time.thread_time_ns)
        results.append(
            {
                "width": width,
                "height": height,
                "bytes": len(data),
                "face_height_share": round(face.box.height / height, 3),
                "outcomes": outcomes,
                "ratio_box": round(timings["cloak, box given"].median_ms / timings[FULL_WAY].median_ms, 3),
                "limit_ratio_box": LIMITS.get(width),
                "timings": {name: timing.as_json() for name, timing in timings.items()},
            }
        )
    return {"photo": "scikit-image astronaut, JPEG 90 4:2:0", "threads": 1, "clock": "processor time", "sizes": results}


def _full_way(data: bytes, finder: Any, mask: Any, box: Any) -> bytes:
    """By simplejpeg, with the finder's landmarks and mesh of the face in the box, and the same mask."""
    import simplejpeg

    from benchmarks.splice import place_fitted
    from facecloak.cloaking.blend import add_in_place

    pixels = simplejpeg.decode_jpeg(data)
    add_in_place(pixels, place_fitted(pixels, mask, finder.landmarks_for(pixels, box)))
    return bytes(simplejpeg.encode_jpeg(pixels, quality=90, colorsubsampling="420"))
