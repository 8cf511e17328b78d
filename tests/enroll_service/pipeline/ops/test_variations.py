"""How a mask comes to lie on a variation: through its grid, or as it is."""

from __future__ import annotations

import pytest
import torch

from enroll_service.pipeline.ops.variations import Variations, joined_variations


def _identity_grids(count: int) -> torch.Tensor:
    line = torch.linspace(-1, 1, 112)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).expand(count, -1, -1, -1).clone()


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_without_grids_and_with_identity_grids_the_mask_lies_alike() -> None:
    crops, change = _random(2, 3, 112, 112, seed=1) * 255, _random(1, 3, 112, 112, seed=2) * 40 - 20
    plain, through_grid = Variations(crops), Variations(crops, _identity_grids(2))
    assert torch.equal(plain.masked(change), (crops + change).clamp(0, 255))
    assert torch.allclose(plain.masked(change), through_grid.masked(change), atol=1e-3)
    maps = _random(2, 1, 112, 112, seed=3)
    assert torch.allclose(plain.mean_in_mask_frame(maps), through_grid.mean_in_mask_frame(maps), atol=1e-3)


def test_a_shifted_grid_shifts_the_mask_and_its_gradient() -> None:
    grids = _identity_grids(1)
    grids[..., 0] += 10 * 2 / 111  # a pixel of the crop sees the mask 10 px to its right
    variations = Variations(torch.full((1, 3, 112, 112), 100.0), grids)
    change = torch.zeros(1, 3, 112, 112)
    change[:, :, 50, 60] = 7
    change.requires_grad_(True)
    laid = variations.warped(change)
    assert float(laid.detach()[0, 0, 50, 50]) == pytest.approx(7, abs=1e-3)
    assert float(laid.detach()[0, 0, 50, 60]) == pytest.approx(0, abs=1e-3)
    # The last ten columns look beyond the mask.
    assert float(variations.warped(torch.ones(1, 1, 112, 112))[..., 103:].abs().max()) == 0
    (gradient,) = torch.autograd.grad(laid[0, :, 50, 50].sum(), change)
    assert gradient[0, :, 50, 60].tolist() == pytest.approx([1, 1, 1], abs=1e-3)


def test_gathering_follows_the_grids_and_fills_what_nobody_sees() -> None:
    grids = _identity_grids(2)
    grids[..., 0] += 10 * 2 / 111
    maps = torch.zeros(2, 1, 112, 112)
    maps[:, :, :, :56] = 4.0
    gathered = Variations(torch.zeros(2, 3, 112, 112), grids).mean_in_mask_frame(maps)
    assert gathered.shape == (1, 1, 112, 112)
    assert float(gathered[0, 0, 50, 40]) == pytest.approx(4, abs=1e-2)
    assert float(gathered[0, 0, 50, 80]) == pytest.approx(0, abs=1e-2)
    unseen = gathered[0, 0, :, :9]
    assert float(unseen.min()) == pytest.approx(float(unseen.max()), abs=1e-4)
    assert 1 < float(unseen.mean()) < 3
    assert torch.isfinite(gathered).all()


def test_joining_keeps_order_and_fills_in_grids_that_stay() -> None:
    plain, moved = Variations(_random(2, 3, 112, 112, seed=6)), Variations(_random(1, 3, 112, 112, seed=7))
    assert joined_variations([plain, moved]).grids is None
    bent = Variations(moved.crops, _random(1, 112, 112, 2, seed=8))
    joined = joined_variations([plain, bent])
    assert torch.equal(joined.crops, torch.cat([plain.crops, bent.crops]))
    assert joined.grids is not None
    assert torch.equal(joined.grids[:2], _identity_grids(2))
    assert bent.grids is not None
    assert torch.equal(joined.grids[2:], bent.grids)


def test_choosing_takes_crops_and_grids_together() -> None:
    crops, grids = _random(3, 3, 112, 112, seed=4), _random(3, 112, 112, 2, seed=5)
    chosen = Variations(crops, grids).chosen(torch.tensor([2, 0]))
    assert len(chosen) == 2
    assert chosen.grids is not None
    assert torch.equal(chosen.crops[0], crops[2])
    assert torch.equal(chosen.grids[1], grids[0])


@pytest.mark.parametrize(
    ("crops", "grids"), [((2, 3, 96, 96), None), ((2, 3, 112, 112), (1, 112, 112, 2)), ((2, 1, 112, 112), None)]
)
def test_shapes_that_do_not_belong_together_are_refused(crops: tuple[int, ...], grids: tuple[int, ...] | None) -> None:
    with pytest.raises(ValueError, match="shape"):
        Variations(torch.zeros(crops), None if grids is None else torch.zeros(grids))


def test_crops_are_displaced_by_px_of_their_own_and_then_painted() -> None:
    ramp = torch.arange(112.0).expand(1, 3, 112, 112).clone()
    variations = Variations(ramp)
    displacement = torch.zeros(1, 2, 112, 112, requires_grad=True)
    with torch.no_grad():
        displacement[:, 0, 40:60, 40:60] = 1.5
    moved = variations.masked(torch.zeros(1, 3, 112, 112), displacement)
    # A place shows what lies 1.5 px to its right.
    assert float(moved[0, 0, 50, 50].detach()) == pytest.approx(51.5, abs=1e-3)
    assert float(moved[0, 0, 20, 50].detach()) == pytest.approx(50, abs=1e-3)
    painted = variations.masked(torch.full((1, 3, 112, 112), 7.0), displacement.detach())
    assert torch.allclose(painted, (moved.detach() + 7).clamp(0, 255), atol=1e-4)
    (gradient,) = torch.autograd.grad(moved[0, 0, 50, 50], displacement)
    assert float(gradient[0, 0, 50, 50]) == pytest.approx(1, abs=1e-3)
    assert float(gradient[0, 1].abs().max()) == pytest.approx(0, abs=1e-4)
