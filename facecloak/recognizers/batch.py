"""What every runtime checks before it runs anything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from facecloak.models.crop import CROP_SIZE
from facecloak.models.spec import RecognizerSpec
from facecloak.recognizers.errors import BatchInvalid


def checked_crops(crops: np.ndarray) -> np.ndarray:
    """Contiguous float32 (N, 3, 112, 112). Raises BatchInvalid."""
    expected = (3, CROP_SIZE, CROP_SIZE)
    if not isinstance(crops, np.ndarray) or crops.ndim != 4 or crops.shape[1:] != expected:
        shape = getattr(crops, "shape", type(crops).__name__)
        raise BatchInvalid(f"crops must be (N, 3, {CROP_SIZE}, {CROP_SIZE}), not {shape}")
    if crops.dtype not in (np.float32, np.float64, np.uint8):
        raise BatchInvalid(f"crops must be float32 0..255, not {crops.dtype}")
    crops = np.ascontiguousarray(crops, np.float32)
    if not np.isfinite(crops).all():
        raise BatchInvalid("crops must be finite")
    return crops


def checked_anchor(anchor: np.ndarray, *, what: str, spec: RecognizerSpec, count: int) -> np.ndarray:
    """Contiguous float32 (1, D) or (count, D). Raises BatchInvalid."""
    rows = np.atleast_2d(np.asarray(anchor, np.float32))
    if rows.ndim != 2 or rows.shape[1] != spec.embedding_size or rows.shape[0] not in (1, count):
        size = spec.embedding_size
        raise BatchInvalid(f"{what} must be (1, {size}) or ({count}, {size}) for {spec.name!r}, not {rows.shape}")
    if not np.isfinite(rows).all():
        raise BatchInvalid(f"{what} must be finite")
    return np.ascontiguousarray(rows)


def parts(count: int, *, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` rows that cover ``count``."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def rows_of(anchor: np.ndarray, part: slice) -> np.ndarray:
    """The anchor's rows for a part of the crops; one row goes for all."""
    return anchor if len(anchor) == 1 else anchor[part]
