"""Quantized coefficients of a JPEG as libjpeg reads them: what the splice codec is checked against."""

from __future__ import annotations

import tempfile

import jpeglib
import numpy as np


def coefficients(data: bytes) -> list[np.ndarray]:
    """(block rows, block columns, 8, 8) int of each component, natural order."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(data)
        file.flush()
        read = jpeglib.read_dct(file.name)
        planes = [read.Y] if read.Cb is None else [read.Y, read.Cb, read.Cr]
        return [np.array(plane, int) for plane in planes]


def expected(
    before: list[np.ndarray], deltas: list[np.ndarray], corner: tuple[int, int], factors: tuple[tuple[int, int], ...]
) -> list[np.ndarray]:
    """``before`` with ``deltas`` added from the MCU ``corner`` (column, row) on, within what baseline coding says."""
    after = []
    for plane, delta, (horizontal, vertical) in zip(before, deltas, factors, strict=True):
        sums = plane.copy()
        left, top = corner[0] * horizontal, corner[1] * vertical
        # libjpeg keeps no blocks beyond the picture's edge, which the file codes where an MCU reaches over it.
        rows, columns = min(delta.shape[0], sums.shape[0] - top), min(delta.shape[1], sums.shape[1] - left)
        part = sums[top : top + rows, left : left + columns]
        part += delta[:rows, :columns]
        dc = np.clip(part[:, :, 0, 0], -1024, 1023)
        np.clip(part, -1023, 1023, out=part)
        part[:, :, 0, 0] = dc
        after.append(sums)
    return after


def transformed(levels: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Levels (rows, columns), whole blocks, as coefficients divided by their steps, in float64 by the definition (ITU-T
    T.81 A.3.3): (block rows, block columns, 8, 8)."""
    u, x = np.mgrid[0:8, 0:8]
    cosine = np.where(u == 0, np.sqrt(1 / 8), 0.5) * np.cos((2 * x + 1) * u * np.pi / 16)
    rows, columns = levels.shape
    blocks = levels.reshape(rows // 8, 8, columns // 8, 8).transpose(0, 2, 1, 3).astype(np.float64)
    return cosine @ blocks @ cosine.T / steps.reshape(8, 8)
