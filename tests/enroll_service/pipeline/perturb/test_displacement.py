"""The displacement: what a step may leave of an eye, of symmetry, of the budget."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enroll_service.pipeline.ops.face_region import eyes
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
def test_each_eye_moves_as_a_whole(strength: Strength) -> None:
    field = _learned(strength, seed=1)[0].numpy()
    assert np.abs(field).max() > 0.2
    for eye in eyes():
        inside = field[:, eye == 1]
        assert inside.shape[1] > 100
        assert np.ptp(inside, axis=1).max() < 0.01  # the outline's soft edge begins there


def test_other_places_of_the_face_bend() -> None:
    field = _learned(Strength.NATURAL, seed=2)[0].numpy()
    mouth = field[:, 84:98, 42:70]
    assert np.ptp(mouth, axis=(1, 2)).min() > 0.2


@pytest.mark.parametrize("strength", list(Strength))
def test_both_sides_move_alike_within_the_budget(strength: Strength) -> None:
    field = _learned(strength, seed=3)
    budget = PipelineSettings().of(strength=strength, kind=None).budget
    assert torch.allclose(field, mirrored(field), atol=1e-4)
    assert rms_px(field) <= budget.displacement_rms_px * 1.001
    assert rms_px(field) > 0.9 * budget.displacement_rms_px
    assert float(field.square().sum(1).sqrt().max()) <= budget.displacement_largest_px * 1.05


def test_the_eyes_are_mirror_images_and_apart() -> None:
    left, right = eyes()
    np.testing.assert_array_equal(left, right[:, ::-1])
    assert not (left * right).any()
