"""The part of a mask that moves: where in the face each place of the cloaked face is taken from.

A displacement is a backward map in the mask's frame of 112 px: the cloaked face shows at ``p`` what the face shows at
``p + d(p)``. It is smooth, so a mask keeps it on a coarse grid of whole units: :data:`DISPLACEMENT_NODES` nodes across
and down, at the centers of cells of 4 px (px 1.5, 5.5, 9.5 ...), bicubic between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facecloak.models.crop import CROP_SIZE

DISPLACEMENT_NODES = 28
"""Nodes across and down."""
DISPLACEMENT_UNIT_PX = 1 / 32
"""What one unit of a mask's displacement moves by, px of the frame; so 127 / 32 px at most, in x and in y."""

_FRAME_PX = CROP_SIZE
_MOST_UNITS = 127
# Between the eyes of ArcFace's five points.
_EYES_PX = 35.24
# Where a face is in the frame: within its outline, without what the frame's edge fades.
_FACE = (slice(20, 100), slice(20, 92))
# What the mean over a cell takes off a field is put back this often; more rounds bring nothing.
_ROUNDS = 3
# How far a node counts, px, and how often what is longer is cut.
_REACH_PX, _HOLDING_ROUNDS = 4, 8


def displacement_px(displacement: np.ndarray | None) -> np.ndarray:
    """(112, 112, 2) float32 px of the frame, x then y, of a mask's ``displacement``; zeros where it has none."""
    if displacement is None:
        return np.zeros((_FRAME_PX, _FRAME_PX, 2), np.float32)
    return _between_nodes(displacement.astype(np.float32) * np.float32(DISPLACEMENT_UNIT_PX))


def quantize_displacement(field_px: np.ndarray, *, longest_px: float | None = None) -> np.ndarray:
    """A field as a mask keeps it, (28, 28, 2) int8 units; what is longer than 127 units in x or y is cut there.

    Args:
        field_px: (112, 112, 2), px at each px of the frame, or (28, 28, 2), px at the nodes; finite.
        longest_px: nothing moves further, between the nodes too; at least one unit. None: no further than the field.
    """
    field = np.asarray(field_px, np.float32)
    if field.shape not in ((_FRAME_PX, _FRAME_PX, 2), (DISPLACEMENT_NODES, DISPLACEMENT_NODES, 2)):
        raise ValueError(f"a displacement has the shape (112, 112, 2) or (28, 28, 2), not {field.shape}")
    if not np.isfinite(field).all():
        raise ValueError("a displacement must be finite")
    nodes = field
    if len(field) == _FRAME_PX:
        nodes = np.zeros((DISPLACEMENT_NODES, DISPLACEMENT_NODES, 2), np.float32)
        for _ in range(_ROUNDS):
            nodes += _at_nodes(field - _between_nodes(nodes))
    if longest_px is not None:
        # Rounding to whole units adds half of one in x and in y, and between the nodes somewhat more.
        nodes = _held(nodes, longest_px - DISPLACEMENT_UNIT_PX)
    return np.clip(np.round(nodes / DISPLACEMENT_UNIT_PX), -_MOST_UNITS, _MOST_UNITS).astype(np.int8)


@dataclass(frozen=True)
class DisplacementSize:
    """How far a displacement moves a face, in percent of the distance between the eyes.

    Attributes:
        rms_percent: root mean square of the length, over the face.
        largest_percent: the largest length, anywhere.
        asymmetry_percent: root mean square, over the face, of the part that is not the same on both sides of the
            frame's middle.
    """

    rms_percent: float
    largest_percent: float
    asymmetry_percent: float


def displacement_size(displacement: np.ndarray | None) -> DisplacementSize:
    """The size of a mask's ``displacement``; all zero where it has none."""
    field = displacement_px(displacement)
    mirrored = field[:, ::-1] * np.array([-1, 1], np.float32)
    return DisplacementSize(
        rms_percent=_percent(_rms(field[_FACE])),
        largest_percent=_percent(float(np.linalg.norm(field, axis=2).max())),
        asymmetry_percent=_percent(_rms((field - mirrored)[_FACE] / 2)),
    )


def _between_nodes(nodes: np.ndarray) -> np.ndarray:
    return cv2.resize(nodes, (_FRAME_PX, _FRAME_PX), interpolation=cv2.INTER_CUBIC)


def _held(nodes: np.ndarray, longest: float) -> np.ndarray:
    """Nodes between which nothing is longer; those far from what is longer stay as they are."""
    reach = np.ones((2 * _REACH_PX + 1, 2 * _REACH_PX + 1), np.uint8)
    for _ in range(_HOLDING_ROUNDS):
        lengths = np.linalg.norm(_between_nodes(nodes), axis=2)
        if lengths.max() <= longest:
            return nodes
        # A node lies in the middle of the four px in the middle of its cell.
        near = cv2.dilate(lengths, reach).reshape(len(nodes), 4, len(nodes), 4)[:, 1:3, :, 1:3].max(axis=(1, 3))
        nodes = nodes * np.minimum(longest / np.maximum(near, longest), 1)[..., None]
    return nodes * np.float32(longest / max(lengths.max(), longest))


def _at_nodes(field: np.ndarray) -> np.ndarray:
    return cv2.resize(field, (DISPLACEMENT_NODES, DISPLACEMENT_NODES), interpolation=cv2.INTER_AREA)


def _rms(vectors: np.ndarray) -> float:
    return float(np.sqrt(np.square(vectors).sum(axis=-1).mean()))


def _percent(px: float) -> float:
    return round(100 * px / _EYES_PX, 4)
