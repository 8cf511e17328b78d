"""Turning, scaling and moving a face mesh, and finding out how it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Pose:
    """A similarity of space: ``scale * points @ rotation.T + offset``.

    Attributes:
        scale: > 0.
        rotation: (3, 3), x to the right, y down, z away from the camera.
        offset: (3,).
    """

    scale: float
    rotation: np.ndarray
    offset: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """``points`` (..., N, 3) moved."""
        return self.scale * points @ self.rotation.T + self.offset

    def undo(self, points: np.ndarray) -> np.ndarray:
        """The points that :meth:`apply` would have moved to ``points`` (N, 3)."""
        return (points - self.offset) @ self.rotation / self.scale


def fit_pose(source: np.ndarray, target: np.ndarray) -> Pose:
    """The least squares similarity from ``source`` to ``target``, both (N, 3), never a mirroring one.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.
    """
    source_center, target_center = source.mean(axis=0), target.mean(axis=0)
    first, second = source - source_center, target - target_center
    left, strengths, right = np.linalg.svd(second.T @ first)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * sign) @ right
    scale = float(strengths @ sign) / max(float(np.square(first).sum()), 1e-12)
    return Pose(scale, rotation, target_center - scale * rotation @ source_center)


def rotation_of(*, yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """(N, 3, 3) rotations of a head by angles (N,) in radians: first yaw (positive: it looks to the image's right),
    then pitch (positive: down), then roll (positive: clockwise in the image)."""
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)

    def matrix(*rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    turn = matrix((np.cos(yaw), zero, -np.sin(yaw)), (zero, one, zero), (np.sin(yaw), zero, np.cos(yaw)))
    nod = matrix((one, zero, zero), (zero, np.cos(pitch), -np.sin(pitch)), (zero, np.sin(pitch), np.cos(pitch)))
    tilt = matrix((np.cos(roll), -np.sin(roll), zero), (np.sin(roll), np.cos(roll), zero), (zero, zero, one))
    return tilt @ nod @ turn


def angles_of(rotation: np.ndarray) -> tuple[float, float, float]:
    """(yaw, pitch, roll) in radians of one (3, 3) rotation, as :func:`rotation_of` takes them."""
    # R = tilt @ nod @ turn has the last row (cos p sin y, sin p, cos p cos y) and the second column (-sin r cos p,
    # cos r cos p, sin p).
    yaw = float(np.arctan2(rotation[2, 0], rotation[2, 2]))
    pitch = float(np.arcsin(np.clip(rotation[2, 1], -1, 1)))
    roll = float(np.arctan2(-rotation[0, 1], rotation[1, 1]))
    return yaw, pitch, roll
