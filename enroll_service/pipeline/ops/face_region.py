"""Where the face is in its own frame."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from facecloak.faces import ALIGNED_SIZE
from facecloak.faces.shape import OUTLINE, face_shape

_SOFT_PX = 3.0
# Over so many px, what is at the frame's edge fades: the chin lies across it.
_EDGE_PX = 14.0
# Middle of either eye of the mean face and of its mouth, px; how far an iris and what is about it reach, across and
# down, an eye with its lids, and the mouth; and as a share of that the edge over which they end.
_EYES = ((37.9, 52.0), (74.0, 52.0))
_MOUTH = (55.5, 92.0)
_NOSE = (55.5, 70.0)
_IRIS_PX = (6.5, 4.5)
_EYE_PX = (11.0, 7.5)
_MOUTH_PX = (16.0, 7.0)
_NOSE_PX = (8.0, 6.0)
_FEATURE_EDGE = (0.9, 1.5)


@functools.cache
def face_region(*, grown_px: int = 0, soft: bool = False) -> np.ndarray:
    """(112, 112) float32 0..1: 1 within the outline of the mean face grown by ``grown_px``, on a soft edge if wanted.
    Read-only."""
    region: np.ndarray = np.zeros((ALIGNED_SIZE, ALIGNED_SIZE), np.float32)
    cv2.fillPoly(region, [np.round(face_shape().mean[OUTLINE, :2]).astype(np.int32)], 1.0)
    if grown_px:
        region = cv2.dilate(region, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grown_px + 1,) * 2))
    if soft:
        region = cv2.GaussianBlur(region, (0, 0), _SOFT_PX)
    region.setflags(write=False)
    return region


@functools.cache
def face_window(*, grown_px: int, soft_px: float) -> np.ndarray:
    """(112, 112) float32 0..1: 1 on the mean face, softly 0 beyond its outline and at the frame's edge. Read-only.

    Args:
        grown_px: by how much the outline is grown; shrunk where negative.
        soft_px: sigma of its edge.
    """
    region: np.ndarray = np.array(face_region(), np.float32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(grown_px) + 1,) * 2)
    change = cv2.dilate if grown_px > 0 else cv2.erode
    region = change(region, kernel, borderType=cv2.BORDER_REPLICATE)
    region = cv2.GaussianBlur(region, (0, 0), soft_px, borderType=cv2.BORDER_REPLICATE)
    place = np.arange(ALIGNED_SIZE, dtype=np.float32)
    ramp = np.clip(np.minimum(place, ALIGNED_SIZE - 1 - place) / _EDGE_PX, 0, 1)
    # The mean face is symmetric but for its outline's whole px.
    window: np.ndarray = (region + region[:, ::-1]) / 2 * np.outer(ramp, ramp)
    window.setflags(write=False)
    return window


@functools.cache
def irises() -> np.ndarray:
    """(112, 112) float32 0..1: 1 on the middle of either eye of the mean face, softly 0 beyond. Read-only."""
    y, x = np.mgrid[:ALIGNED_SIZE, :ALIGNED_SIZE].astype(np.float32)
    width, height = _IRIS_PX
    spots = [np.exp(-(((x - across) / width) ** 2) - ((y - down) / height) ** 2) for across, down in _EYES]
    where: np.ndarray = np.clip(sum(spots), 0, 1).astype(np.float32)
    where.setflags(write=False)
    return where


@functools.cache
def features() -> np.ndarray:
    """(4, 112, 112) float32 0..1: 1 on either eye of the mean face with its lids, on its mouth, and on the tip of its
    nose; softly 0 beyond. Read-only."""
    y, x = np.mgrid[:ALIGNED_SIZE, :ALIGNED_SIZE].astype(np.float32)
    inner, outer = _FEATURE_EDGE
    places = (*((middle, _EYE_PX) for middle in _EYES), (_MOUTH, _MOUTH_PX), (_NOSE, _NOSE_PX))
    reach = [np.hypot((x - across) / width, (y - down) / height) for (across, down), (width, height) in places]
    apart = np.clip((outer - np.stack(reach)) / (outer - inner), 0, 1).astype(np.float32)
    # The eyes are each other's mirror image, the others their own, so that what is the same on both sides stays so.
    where: np.ndarray = (apart + apart[[1, 0, 2, 3], :, ::-1]) / 2
    where.setflags(write=False)
    return where
