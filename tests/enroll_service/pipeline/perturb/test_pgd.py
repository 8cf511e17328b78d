"""Stage two: the budget holds, the loss falls on a real recognizer, and a seed decides everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from enroll_service.pipeline.ops.mask_parts import MaskParts
from enroll_service.pipeline.ops.photometry import vary_tones
from enroll_service.pipeline.ops.similarity_scale import as_crops
from enroll_service.pipeline.ops.ssim import smooth, structural_similarity
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.ops.visibility import CropEyes
from enroll_service.pipeline.perturb.directions import Leakage, damp_chroma
from enroll_service.pipeline.perturb.displacement import mirrored, rms_px
from enroll_service.pipeline.perturb.ensemble import SurrogateEnsemble, Target
from enroll_service.pipeline.perturb.pgd import _batches, perturb
from enroll_service.pipeline.perturb.ssim_paint import SsimBudget
from enroll_service.pipeline.perturb.targets import own_identity
from enroll_service.pipeline.perturb.task import LearningTask
from enroll_service.pipeline.recipe import PerturbRecipe, Recipe
from enroll_service.pipeline.settings import PipelineSettings
from enroll_service.pipeline.strengths import MaskKind
from enroll_service.pipeline.synthesize.face_morphing import FacePool, Morphing
from facecloak.cloaking.visibility import VisibilityBudget
from facecloak.recognizers.onnx_runtime import OnnxRuntime


@given(
    seed=st.integers(0, 2**31),
    amplitude=st.floats(0.1, 200),
    target=st.floats(0.5, 0.99),
    cap=st.floats(1, 60),
)
@settings(max_examples=40, deadline=None)
def test_projection_keeps_both_budgets(seed: int, amplitude: float, target: float, cap: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    crops = smooth(torch.rand(2, 3, 112, 112, generator=generator) * 255, 1.5)
    rough = torch.randn(1, 3, 112, 112, generator=generator) * amplitude
    kept = SsimBudget(Variations(crops), target, cap).project(rough)
    assert float(kept.abs().max()) <= cap + 1e-4
    assert float(structural_similarity(crops, (crops + kept).clamp(0, 255)).mean()) >= target - 0.005
    # The direction is the mask's own business: projection clips and shrinks, it never turns a pixel over.
    assert bool((kept * rough >= 0).all())


def test_projection_leaves_what_is_within_budget() -> None:
    crops = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(1)) * 255
    small = torch.full((1, 3, 112, 112), 0.25)
    assert torch.equal(SsimBudget(Variations(crops), 0.855, 32).project(small), small)


@pytest.mark.parametrize("keep", [0.0, 0.3, 1.0])
def test_damp_chroma_scales_color_and_keeps_gray(keep: float) -> None:
    change = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    damped = damp_chroma(change, keep=keep)
    assert torch.allclose(damped.mean(dim=1), change.mean(dim=1), atol=1e-6)
    color = change - change.mean(dim=1, keepdim=True)
    assert torch.allclose(damped - damped.mean(dim=1, keepdim=True), keep * color, atol=1e-6)


@pytest.fixture(scope="module")
def runtime(model_repository: Path) -> OnnxRuntime:
    return OnnxRuntime(model_repository, names=["dlib_resnet", "mobileface"], threads=1)


def _learn(
    runtime: OnnxRuntime,
    crops: torch.Tensor,
    *,
    iterations: int,
    seed: int,
    morphing: Morphing | None = None,
    kind: MaskKind = MaskKind.PAINT,
) -> tuple[MaskParts, list[float]]:
    targets = {}
    for name in runtime.names():
        near = own_identity(runtime, name, as_crops(crops))
        targets[name] = Target(near=near, far=np.zeros_like(near))
    steps: list[float] = []
    with SurrogateEnsemble(runtime, targets) as ensemble:
        plan = PerturbRecipe(iterations=iterations, batch=2)
        task = LearningTask(
            variations=Variations(crops),
            shown=Variations(crops),
            targets=targets,
            runtime=runtime,
            settings=PipelineSettings(kind=kind),
            seed=seed,
            morphing=morphing,
        )
        learned = perturb(task, ensemble, plan=plan, seed=seed, checkpoint=steps.append)
    return learned, steps


def test_learning_lowers_similarity_within_the_budget_and_repeats(
    runtime: OnnxRuntime, astronaut_srgb_u8: np.ndarray
) -> None:
    face = torch.from_numpy(astronaut_srgb_u8[60:172, 170:282].copy()).permute(2, 0, 1)[None].float()
    crops = torch.cat([face, face.flip(3)])
    learned, steps = _learn(runtime, crops, iterations=6, seed=5)
    again, _ = _learn(runtime, crops, iterations=6, seed=5)
    assert torch.equal(learned.paint, again.paint)
    assert learned.displacement is None
    assert steps == [index / 6 for index in range(6)]
    masked = (crops + learned.paint).clamp(0, 255)
    assert float(structural_similarity(crops, masked).mean()) >= PipelineSettings().similarity_kept - 0.005
    for name in runtime.names():
        identity = own_identity(runtime, name, as_crops(crops))
        before = float((runtime.embed(name, as_crops(crops)) @ identity[0]).mean())
        after = float((runtime.embed(name, as_crops(masked)) @ identity[0]).mean())
        assert after < before - 0.02


def test_both_parts_are_learned_at_once_each_in_its_own_budget(
    runtime: OnnxRuntime, astronaut_srgb_u8: np.ndarray
) -> None:
    face = torch.from_numpy(astronaut_srgb_u8[60:172, 170:282].copy()).permute(2, 0, 1)[None].float()
    crops = torch.cat([face, face.flip(3)])
    budget = PipelineSettings().budget
    both, _ = _learn(runtime, crops, iterations=6, seed=5, kind=MaskKind.FULL)
    assert both.displacement is not None
    # At what may be seen, but for places where the largest level stops it.
    limits = VisibilityBudget(budget.jod, budget.ssimulacra2)
    assert 0.9 < CropEyes(crops).excess(both.paint, limits) < 1.001
    assert float(both.paint.abs().max()) <= Recipe().paint.max_level
    lengths = both.displacement.square().sum(1).sqrt()
    assert float(lengths.max()) <= budget.displacement_largest_px + 1e-4
    assert rms_px(both.displacement) == pytest.approx(budget.displacement_rms_px, rel=0.05)
    # The same on both sides of the face, and nothing beyond it.
    assert torch.allclose(both.displacement, mirrored(both.displacement), atol=1e-4)
    for part in (both.paint, both.displacement):
        assert float(part[..., :3, :].abs().max()) < 1e-3
    # Neither part alone leads as far from the person.
    for name in runtime.names():
        identity = own_identity(runtime, name, as_crops(crops))[0]
        left = [
            float((runtime.embed(name, as_crops(masked)) @ identity).mean())
            for masked in (
                Variations(crops).masked(both.paint, both.displacement),
                Variations(crops).masked(both.paint),
                Variations(crops).displaced(both.displacement),
                crops,
            )
        ]
        assert left[0] < min(left[1:3]) <= max(left[1:3]) < left[3]


def test_tones_vary_the_mask_with_the_face_and_pass_gradients() -> None:
    crops = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 255
    assert torch.equal(vary_tones(crops, amount=0, generator=torch.Generator()), crops)
    leaf = crops.clone().requires_grad_(True)
    varied = vary_tones(leaf, amount=1, generator=torch.Generator().manual_seed(4))
    again = vary_tones(crops, amount=1, generator=torch.Generator().manual_seed(4))
    assert torch.equal(varied.detach(), again)
    assert 0 <= float(again.min()) <= float(again.max()) <= 255
    # Each picture in its own way, and darker stays darker: tones only.
    assert float((again.mean(dim=(1, 2, 3)) - crops.mean(dim=(1, 2, 3))).std()) > 1
    order = crops[0, 0].flatten().argsort()
    assert bool((again[0, 0].flatten()[order].diff() >= -1e-3).all())
    (gradient,) = torch.autograd.grad(varied.sum(), leaf)
    assert torch.isfinite(gradient).all()
    assert float(gradient.mean()) > 0.3


def test_masks_are_learned_on_morphs(runtime: OnnxRuntime, astronaut_srgb_u8: np.ndarray) -> None:
    face = torch.from_numpy(astronaut_srgb_u8[60:172, 170:282].copy()).permute(2, 0, 1)[None].float()
    morphing = Morphing(FacePool.load(), share=1.0, most=1.0)
    (plain, _), (morphed, _), (again, _) = (
        _learn(runtime, face, iterations=4, seed=5, morphing=with_) for with_ in (None, morphing, morphing)
    )
    assert torch.equal(morphed.paint, again.paint)
    # Another mask, but one against the same person.
    likeness = torch.nn.functional.cosine_similarity(plain.paint.flatten(), morphed.paint.flatten(), dim=0)
    assert 0.05 < float(likeness) < 0.9


def test_budget_goes_where_gradients_have_been_large() -> None:
    gradient = torch.zeros(1, 3, 112, 112)
    gradient[..., 40:72, 40:72] = 1
    leakage = Leakage(exponent=0.5)
    share = leakage.share(gradient)
    assert share.shape == (1, 1, 112, 112)
    assert float(share[0, 0, 56, 56]) > 2 > 0.2 > float(share[0, 0, 5, 5])
    # One step elsewhere does not undo what was seen before.
    later = leakage.share(gradient.roll(50, dims=3))
    assert float(later[0, 0, 56, 56]) > float(later[0, 0, 56, 106]) > 0.2
    assert torch.equal(Leakage(exponent=0).share(gradient), torch.ones(1, 1, 112, 112))


@given(available=st.integers(1, 9), wanted=st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_each_variation_is_seen_as_often_as_every_other(available: int, wanted: int) -> None:
    batches = _batches(available, wanted, torch.Generator().manual_seed(0))
    seen = torch.cat([next(batches) for _ in range(available)])
    assert len(seen) == available * wanted
    assert torch.bincount(seen, minlength=available).tolist() == [wanted] * available
