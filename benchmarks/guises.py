"""Photos of faces made harder to find: turned, with a face mask, in the dark, small in a crowd."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

_CROWD_SIZE = (1600, 1200)
_CROWD = 14
# Of the face mesh: across the nose's bridge from cheek to cheek, and along the jaw.
_MASK_TOP = (234, 227, 116, 117, 118, 6, 347, 346, 345, 447, 454)
_MASK_JAW = (323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93)


def turned(srgb_u8: np.ndarray, face: Any, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """A photo turned about its middle, on gray so that nothing is cut, and where the face's landmarks are then."""
    height, width = srgb_u8.shape[:2]
    move = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    cosine, sine = abs(move[0, 0]), abs(move[0, 1])
    size = round(width * cosine + height * sine), round(width * sine + height * cosine)
    move[:, 2] += ((size[0] - width) / 2, (size[1] - height) / 2)
    picture = cv2.warpAffine(srgb_u8, move, size, flags=cv2.INTER_CUBIC, borderValue=(127, 127, 127))
    return picture, face.landmarks @ move[:, :2].T + move[:, 2]


def turned_whole(srgb_u8: np.ndarray, degrees: float) -> np.ndarray:
    """The same of a photo whose faces nobody knows."""
    if not degrees:
        return srgb_u8

    class _Nobody:
        landmarks = np.zeros((5, 2))

    return turned(srgb_u8, _Nobody, degrees)[0]


def masked(srgb_u8: np.ndarray, face: Any) -> tuple[np.ndarray, np.ndarray]:
    """A face with a drawn medical mask from the nose's bridge to under the chin."""
    picture = srgb_u8.copy()
    outline = face.mesh[[*_MASK_TOP, *_MASK_JAW], :2]
    center = outline.mean(axis=0)
    cv2.fillPoly(picture, [np.round(center + 1.05 * (outline - center)).astype(np.int32)], (168, 198, 214), cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), 0.6), face.landmarks


def darkened(srgb_u8: np.ndarray, face: Any) -> tuple[np.ndarray, np.ndarray]:
    """A photo as a camera takes it in a tenth of the light: darker in linear light, and noisy."""
    rng = np.random.default_rng(int(srgb_u8[::16, ::16].sum()))
    light = (srgb_u8 / 255.0) ** 2.2 * 0.1
    light += rng.normal(0, 1, light.shape) * np.sqrt(light * 4e-4 + 1e-6)
    return np.round(np.clip(light, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8), face.landmarks


def in_a_crowd(
    portraits: list[tuple[np.ndarray, Any]],
    rng: np.random.Generator,
    *,
    sides: tuple[float, float],
    spread_degrees: float,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """(1200, 1600, 3) of 14 people or fewer, cut out with their surroundings, and their landmarks.

    Args:
        sides: of the faces' boxes, px, the least and the most.
        spread_degrees: standard deviation of their tilt.
    """
    width, height = _CROWD_SIZE
    picture = np.full((height, width, 3), 110, np.uint8)
    taken: list[tuple[float, float, float]] = []
    faces: list[np.ndarray] = []
    for _ in range(20 * _CROWD):
        if len(faces) == _CROWD:
            break
        srgb_u8, face = portraits[int(rng.integers(len(portraits)))]
        side = rng.uniform(*sides)
        scale = side / float(np.sqrt(face.box.area))
        reach = 1.6 * side
        x, y = rng.uniform(reach, width - reach), rng.uniform(reach, height - reach)
        if any(np.hypot(x - other[0], y - other[1]) < reach + other[2] for other in taken):
            continue
        taken.append((x, y, reach))
        small = cv2.resize(srgb_u8, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        factors = np.array([small.shape[1] / srgb_u8.shape[1], small.shape[0] / srgb_u8.shape[0]])
        center = (np.array(face.box.center) + 0.5) * factors - 0.5
        move = cv2.getRotationMatrix2D(tuple(center.tolist()), rng.normal(0, spread_degrees), 1.0)
        move[:, 2] += (x, y) - center
        part = cv2.warpAffine(small, move, _CROWD_SIZE, flags=cv2.INTER_LINEAR)
        shown = cv2.warpAffine(np.full(small.shape[:2], 255, np.uint8), move, _CROWD_SIZE, flags=cv2.INTER_NEAREST)
        disc = np.zeros((height, width), np.uint8)
        cv2.circle(disc, (round(x), round(y)), round(reach), 255, -1)
        inside = (shown & disc) > 0
        picture[inside] = part[inside]
        landmarks = (face.landmarks + 0.5) * factors - 0.5
        faces.append(landmarks @ move[:, :2].T + move[:, 2])
    return picture, faces
