"""Early stop: what counts as better, what is kept, and that what is looked at is what the surrogates have left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.perturb.early_stopping import HeldOut, Plateau
from enroll_service.pipeline.perturb.ensemble import SurrogateEnsemble, Target, own_identity
from enroll_service.pipeline.settings import EarlyStopSettings
from facecloak.recognizers import OnnxRuntime


def looks(values: Sequence[float], **fields: float) -> tuple[list[bool], float]:
    """Whether each look ends the learning, the perturbations being what they leave; and the best of them."""
    settings = EarlyStopSettings.model_validate({"patience": 2, "improvement": 0.01} | fields)
    plateau = Plateau(lambda perturbation: float(perturbation), settings=settings)
    ends = [plateau.reached(torch.tensor(value, dtype=torch.float64)) for value in values]
    return ends, float(plateau.best)


def test_learning_ends_after_as_many_looks_without_improvement_as_patience_says() -> None:
    assert looks([0.5, 0.4, 0.399, 0.398, 0.397]) == ([False, False, False, True, True], 0.397)
    assert looks([0.5, 0.4, 0.399, 0.3, 0.31, 0.32]) == ([False] * 5 + [True], 0.3)
    assert looks([0.5, 0.6], patience=1) == ([False, True], 0.5)


def test_small_gains_add_up_to_an_improvement() -> None:
    ends, best = looks([0.5, 0.494, 0.488, 0.482, 0.476])
    assert ends == [False] * 5
    assert best == 0.476


def test_looks_are_as_far_apart_as_wanted() -> None:
    plateau = Plateau(lambda _: 0.0, settings=EarlyStopSettings(patience=1, every=3))
    assert [step for step in range(1, 10) if plateau.is_due(step)] == [3, 6, 9]
    with pytest.raises(RuntimeError):
        _ = plateau.best


@pytest.fixture(scope="module")
def runtime(model_repository: Path) -> OnnxRuntime:
    return OnnxRuntime(model_repository, names=["dlib_resnet", "mobileface"], threads=1)


def test_what_is_left_is_all_of_it_without_a_mask_and_less_with_a_penalty_more(
    runtime: OnnxRuntime, astronaut_srgb_u8: np.ndarray
) -> None:
    face = torch.from_numpy(astronaut_srgb_u8[60:172, 170:282].copy()).permute(2, 0, 1)[None].float()
    crops = torch.cat([face, face.flip(3)])
    targets = {}
    for name in runtime.names():
        near = own_identity(runtime, name, crops.numpy())
        targets[name] = Target(near=near, far=-near)
    held_out = HeldOut(Variations(crops), runtime=runtime, targets=targets)
    noise = 24 * torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    with SurrogateEnsemble(runtime, targets) as ensemble:

        def left(perturbation: torch.Tensor, penalty: float = 0.0) -> float:
            return held_out.left(perturbation, ensemble, penalty=lambda _name, _embeddings: penalty)

        assert left(torch.zeros(1, 3, 112, 112)) == pytest.approx(1.0, abs=1e-5)
        assert left(noise) < 0.95
        assert left(noise, 0.1) > left(noise) + 0.05
