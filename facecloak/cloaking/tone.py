"""What colors a face has: a mask paints a face that has none in gray, and one of a single tint in that tint."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from facecloak.cloaking.head_window import smooth_step
from facecloak.faces.shape import OUTLINE, face_shape
from facecloak.masks.mask import MASK_SIZE

# JFIF 1.02: ITU-R BT.601 at full range.
_LUMA = np.array([0.299, 0.587, 0.114])
_CHROMA = np.array([[-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]])
_RGB_OF_CHROMA = np.array([[0.0, 1.402], [-0.344136286, -0.714136286], [1.772, 0.0]])

# Of the chroma, levels, over the face seen in 28 x 28 px: its root mean square, and that of what its luma does not
# tell. Over 100 photos of 20 people: 14.2 and 3.2 at least, 19.3 and 3.8 in 95 %. The same in sepia 1.9 at most of the
# second, 2.6 as JPEG 75; with a tenth of their color 4.7 at most of the first, with a third 4.2 to 14.
_COLORLESS, _COLORED = 4.0, 12.0
_ONE_TINT, _TINTS = 2.0, 3.2
_SIDE = 28
_PARTS = 12
_LEAST_SPREAD = 1e-6
# Shrunk by so much, the mean face's outline has no background beside it in most poses.
_INNER_PX = 5


def tone_of(crop_u8: np.ndarray) -> np.ndarray:
    """(3, 3) float32: what becomes of a change of R, G and B on this face, to stay within the colors that it has.

    The identity on a face of many tints. On a gray one, the change's luma in all three channels; on one of a single
    tint (sepia, colored light), its luma with the chroma that the photo has with such luma. Between them, a mixture.

    Args:
        crop_u8: (112, 112, 3) uint8 RGB, the aligned crop; black is taken for what lies beyond the photo.
    """
    pixels = cv2.resize(crop_u8, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)[_inner()].astype(np.float64)
    pixels = pixels[pixels.any(axis=1)]
    if len(pixels) < 2 * _PARTS:
        return np.eye(3, dtype=np.float32)
    luma, chroma = pixels @ _LUMA, pixels @ _CHROMA.T
    colored = smooth_step((_rms(chroma) - _COLORLESS) / (_COLORED - _COLORLESS))
    tints = smooth_step((_rms(_untold(luma, chroma)) - _ONE_TINT) / (_TINTS - _ONE_TINT))
    kept = float(colored * tints)
    if kept == 1.0:
        return np.eye(3, dtype=np.float32)
    tint = 1 + _RGB_OF_CHROMA @ _slope(luma, chroma)
    return (kept * np.eye(3) + (1 - kept) * np.outer(tint, _LUMA)).astype(np.float32)


def _untold(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """What is left of the chroma (N, 2) when luma tells of it what it can, a line for each part of its range."""
    order = np.argsort(luma, kind="stable")[: len(luma) // _PARTS * _PARTS]
    lumas, chromas = luma[order].reshape(_PARTS, -1), chroma[order].reshape(_PARTS, -1, 2)
    about, straying = lumas - lumas.mean(axis=1, keepdims=True), chromas - chromas.mean(axis=1, keepdims=True)
    spread = np.maximum(np.square(about).sum(axis=1), _LEAST_SPREAD)
    slopes = np.einsum("pn,pnc->pc", about, straying) / spread[:, None]
    return np.asarray(straying - about[:, :, None] * slopes[:, None]).reshape(-1, 2)


def _slope(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """(2,) chroma that comes with a level more of luma."""
    about = luma - luma.mean()
    return np.asarray(about @ chroma / max(float(about @ about), _LEAST_SPREAD))


def _rms(vectors: np.ndarray) -> float:
    return float(np.sqrt(np.square(vectors).sum(axis=1).mean()))


@functools.cache
def _inner() -> np.ndarray:
    """(28, 28) bool: the face without its rim."""
    face = np.zeros((MASK_SIZE, MASK_SIZE), np.uint8)
    cv2.fillPoly(face, [np.round(face_shape().mean[OUTLINE, :2]).astype(np.int32)], (255,))
    inner = cv2.erode(face, np.ones((2 * _INNER_PX + 1,) * 2, np.uint8), borderValue=(0,))
    return np.asarray(cv2.resize(inner, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) == 255)
