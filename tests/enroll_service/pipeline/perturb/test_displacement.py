"""The displacement: what a step may leave of an eye, of symmetry, of the budget."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enroll_service.pipeline.ops.face_region import features
from enroll_service.pipeline.perturb.displacement import DisplacementLearner, mirrored, rms_px
from enroll_service.pipeline.settings import PipelineSettings
from enroll_service.pipeline.strengths import Strength


def _learned(strength: Strength, *, seed: int) -> torch.Tensor:
    settings = PipelineSettings().of(strength=strength, kind=None)
    learner = DisplacementLearner(settings)
    generator = torch.Generator().manual_seed(seed)
    for step in range(20):
        learner.step(torch.randn(1, 2, 112, 112, generator=generator), step / 20)
    return learner.finish()


@pytest.mark.parametrize("strength", list(Strength))
def test_straight_lines_of_eyes_mouth_and_nose_stay_straight(strength: Strength) -> None:
    field = _learned(strength, seed=1)[0].numpy()
    assert np.abs(field).max() > 0.2
    for where in features():
        rows, columns = np.nonzero(where == 1)
        moved = field[:, rows, columns]
        # The outline's soft edge begins on the mouth: it bends what is there by a hundredth of a px.
        fitted, *_ = np.linalg.lstsq(np.stack([np.ones(rows.size), columns, rows], axis=1), moved.T, rcond=None)
        left = moved.T - np.stack([np.ones(rows.size), columns, rows], axis=1) @ fitted
        assert rows.size > 100
        assert np.abs(left).max() < 0.1 * np.abs(field).max()


def test_other_places_of_the_face_bend() -> None:
    field = _learned(Strength.NATURAL, seed=2)[0].numpy()
    forehead = field[:, 26:40, 40:72]
    second = np.abs(np.diff(forehead, 2, axis=2)).max()
    assert second > 0.02


@pytest.mark.parametrize("strength", list(Strength))
def test_both_sides_move_alike_within_the_budget(strength: Strength) -> None:
    field = _learned(strength, seed=3)
    budget = PipelineSettings().of(strength=strength, kind=None).budget
    assert torch.allclose(field, mirrored(field), atol=1e-4)
    assert rms_px(field) <= budget.displacement_rms_px * 1.001
    assert rms_px(field) > 0.8 * budget.displacement_rms_px
    assert float(field.square().sum(1).sqrt().max()) <= budget.displacement_largest_px + 1e-4


def test_features_are_symmetric_and_apart() -> None:
    left, right, mouth, nose = features()
    np.testing.assert_array_equal(left, right[:, ::-1])
    for middle in (mouth, nose):
        np.testing.assert_array_equal(middle, middle[:, ::-1])
    assert not (left * right).any()
    assert not ((left + right) * (mouth + nose)).any()
    assert not (mouth * nose).any()
