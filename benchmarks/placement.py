"""What laying a mask over a face takes, by the mask's geometry, beyond finding the face."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import photo
from benchmarks.timing import take_turns

SQUARE_SIDES_PX = (112, 300, 600)


def measure(model_repository: Path, *, runs: int) -> dict[str, Any]:
    """For faces of several sizes: placing a mask and computing its change in each geometry, and finding the mesh."""
    import cv2

    from facecloak.cloaking.placement import place_mask, square_side_px
    from facecloak.faces import FaceFinder
    from facecloak.masks.mask import Mask, MaskGeometry

    cv2.setNumThreads(1)
    finder = FaceFinder.load(model_repository)
    pixels = np.random.default_rng(1).integers(-12, 13, (112, 112, 3)).astype(np.int8)
    masks = {geometry: Mask.new(pixels, seed=1, geometry=geometry) for geometry in MaskGeometry}
    large = photo(width=4032, height=3024)
    reference = square_side_px(finder.find(large)[0])
    sizes = []
    for side in SQUARE_SIDES_PX:
        scale = side / reference
        size = (round(4032 * scale), round(3024 * scale))
        srgb_u8 = cv2.resize(large, size, interpolation=cv2.INTER_AREA)
        face = finder.find(srgb_u8)[0]
        mesh = finder.mesh_of(srgb_u8, face.landmarks)

        def laid(geometry: MaskGeometry, *, face: Any = face, mesh: Any = mesh, size: Any = size) -> object:
            placement = place_mask(masks[geometry], face, mesh=mesh)
            left, top, right, bottom = placement.bounds(width=size[0], height=size[1])
            return placement.change(left=left, top=top, width=right - left, height=bottom - top)

        candidates: dict[str, Callable[[], object]] = {
            "lay by similarity": lambda laid=laid: laid(MaskGeometry.SQUARE),
            "lay in the face's frame": lambda laid=laid: laid(MaskGeometry.FACE),
            "mesh network": lambda srgb_u8=srgb_u8, face=face: finder.mesh_of(srgb_u8, face.landmarks),
        }
        timings = take_turns(candidates, runs=runs, warm_up=3, clock_ns=time.process_time_ns)
        sizes.append(
            {
                "square_side_px": round(square_side_px(face)),
                "timings": {name: timing.as_json() for name, timing in timings.items()},
            }
        )
    return {"photo": "scikit-image astronaut", "threads": 1, "clock": "processor time", "sizes": sizes}
