"""The part that moves: a smooth field, the same on both sides of the face, zero beyond it.

Eyes, mouth and the nose's tip each move by an affine map: they may lie elsewhere, be a little larger, slanted or
turned, and what is straight in them stays straight. People see at once a bent lid, an iris that is not round, teeth in
a wave, and a pinched nose.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from enroll_service.pipeline.ops.face_region import face_window, features
from enroll_service.pipeline.ops.ssim import smooth
from enroll_service.pipeline.perturb.directions import shrinking
from enroll_service.pipeline.settings import PipelineSettings
from facecloak.masks.mask import MASK_SIZE

# Where a face is in the frame: its displacement is measured there (facecloak.masks.displacement does so, too).
_FACE_ROWS, _FACE_COLUMNS = slice(20, 100), slice(20, 92)
# What lengths that were cut leave as edges is smoothed by this sigma, px.
_CUT_PX = 1.0


class DisplacementLearner:
    """Learns where each place of the face is taken from; see
    :class:`~enroll_service.pipeline.perturb.parts.PartLearner`.

    Args:
        earlier: (1, 2, 112, 112) px, learned on photos that are gone: where to begin, and what each step is pulled
            back to.
    """

    def __init__(self, settings: PipelineSettings, *, earlier: Tensor | None = None) -> None:
        recipe = settings.recipe
        self._recipe, self._budget = recipe.displacement, settings.budget
        self._momentum, self._pull = recipe.perturb.momentum, recipe.refining_pull
        self._earlier = earlier
        window = face_window(grown_px=self._recipe.grown_px, soft_px=self._recipe.soft_px)
        self._window = torch.from_numpy(window.copy())[None, None]
        self._features = [_Feature(where) for where in features()]
        self._field = torch.zeros(1, 2, MASK_SIZE, MASK_SIZE) if earlier is None else earlier.clone()
        self._velocity = torch.zeros_like(self._field)

    @property
    def value(self) -> Tensor:
        """(1, 2, 112, 112) px, x then y."""
        return self._field * self._window

    def step(self, gradient: Tensor, done: float) -> None:
        """Momentum, then smoothness, lengths that are cut, symmetry, straight features, and the budget."""
        self._velocity = self._momentum * self._velocity + (1 - self._momentum) * gradient * self._window
        direction = smooth(self._velocity, self._recipe.sigma_px)
        step = shrinking(self._recipe.step_px, done)
        field = self._field - step * direction / _lengths(direction).mean().clamp_min(1e-12)
        if self._earlier is not None:
            field = field + self._pull * (self._earlier - field)
        most = self._budget.displacement_largest_px
        field = smooth(field * (most / _lengths(field).clamp_min(most)), _CUT_PX)
        field = (field + mirrored(field)) / 2
        for feature in self._features:
            field = feature.straightened(field)
        seen = field * self._window
        excess = max(1.0, rms_px(seen) / self._budget.displacement_rms_px, float(_lengths(seen).max()) / most)
        self._field = field / excess

    def finish(self) -> Tensor:
        """As it is: a displacement grows to its budget within a few steps."""
        return self.value


class _Feature:
    """A part of the face whose field is the affine map that fits best.

    Args:
        where: (112, 112) 0..1: where it is, and how much the fit counts there.
    """

    def __init__(self, where: np.ndarray) -> None:
        rows, columns = (np.mgrid[:MASK_SIZE, :MASK_SIZE] / MASK_SIZE).reshape(2, -1)
        basis = np.stack([np.ones(rows.size), columns, rows])
        weighted = basis * where.reshape(-1)
        # The normal equations of least squares, solved once for all fields.
        solved = np.linalg.solve(weighted @ basis.T, weighted).T
        self._where = torch.from_numpy(where.copy())[None, None]
        self._basis, self._solved = torch.from_numpy(basis).float(), torch.from_numpy(solved).float()

    def straightened(self, field: Tensor) -> Tensor:
        """A field (1, 2, 112, 112) with the affine map in this part's place."""
        affine = (field.reshape(2, -1) @ self._solved @ self._basis).reshape(field.shape)
        return field + self._where * (affine - field)


def mirrored(field: Tensor) -> Tensor:
    """A field (1, 2, H, W) of the mirrored face."""
    return field.flip(3) * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)


def rms_px(field: Tensor) -> float:
    """Root mean square of a field's lengths over the face, px."""
    return float(field.square().sum(1)[:, _FACE_ROWS, _FACE_COLUMNS].mean().sqrt())


def _lengths(field: Tensor) -> Tensor:
    return field.square().sum(1, keepdim=True).sqrt()
