"""What stage one hands to stage two: pictures of the person, and how a mask comes to lie on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from enroll_service.pipeline.report import SynthesisReport
from facecloak.masks.mask import MASK_SIZE


@dataclass(frozen=True, eq=False, repr=False)
class Variations:
    """Aligned crops of one person, and where each of their pixels finds its place in the mask.

    Attributes:
        crops: (N, 3, 112, 112) float32, RGB 0..255.
        grids: (N, 112, 112, 2) float32, or None for a mask that lies in the crop's own frame: x and y in the mask of
            each pixel of a crop, -1 and 1 being the centers of the mask's outermost pixels (`grid_sample` with
            ``align_corners``). Beyond -1..1 there is no mask.
        record: what the enrollment's report says about how they were made.
        warnings: sentences that the user should see.

    Raises:
        ValueError: shapes that do not belong together.
    """

    crops: Tensor
    grids: Tensor | None = None
    record: SynthesisReport = field(default_factory=SynthesisReport)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count, *rest = self.crops.shape
        if rest != [3, MASK_SIZE, MASK_SIZE]:
            raise ValueError(f"crops have the shape {tuple(self.crops.shape)}")
        if self.grids is not None and self.grids.shape != (count, MASK_SIZE, MASK_SIZE, 2):
            raise ValueError(f"grids have the shape {tuple(self.grids.shape)}")

    def __len__(self) -> int:
        return len(self.crops)

    def chosen(self, indices: Tensor) -> Variations:
        """The variations at ``indices`` (M,)."""
        return Variations(self.crops[indices], None if self.grids is None else self.grids[indices])

    def warped(self, change: Tensor) -> Tensor:
        """A mask's ``change`` (1, C, 112, 112) as it lies on each crop: (N, C, 112, 112), or (1, C, 112, 112) where it
        lies the same on all. Differentiable."""
        if self.grids is None:
            return change
        return functional.grid_sample(change.expand(len(self), -1, -1, -1), self.grids, align_corners=True)

    def masked(self, paint: Tensor, displacement: Tensor | None = None) -> Tensor:
        """The crops as a mask leaves them: displaced, then painted, clipped to 0..255. Differentiable.

        Args:
            paint: (1, 3, 112, 112) levels to add.
            displacement: (1, 2, 112, 112) px, x then y: a crop then shows at a px what it showed that far from it.
        """
        crops = self.crops if displacement is None else self.displaced(displacement)
        return (crops + self.warped(paint)).clamp(0, 255)

    def displaced(self, displacement: Tensor) -> Tensor:
        """The crops displaced only, less where the face is foreshortened, as applying does it. Differentiable."""
        shift = self.warped(displacement).movedim(1, 3) * (2 / (MASK_SIZE - 1))
        if self.grids is not None:
            shift = shift / foreshortening(self.grids)
        places = identity_grids(len(self)) + shift
        return functional.grid_sample(self.crops, places, align_corners=True, padding_mode="border")

    def mean_in_mask_frame(self, maps: Tensor) -> Tensor:
        """Mean over the variations of ``maps`` (N, C, 112, 112), each brought to the mask's frame: (1, C, 112, 112).

        A place of the mask that no variation shows gets the mean of all places.
        """
        if self.grids is None:
            return maps.mean(dim=0, keepdim=True)
        place = torch.zeros(1, *maps.shape[1:], requires_grad=True)
        with torch.enable_grad():
            on_crops = self.warped(place)
        # Sampling is linear, so its gradient spreads each crop's pixels over the mask with the weights they came by.
        (total,) = torch.autograd.grad(on_crops, place, grad_outputs=maps, retain_graph=True)
        (weight,) = torch.autograd.grad(on_crops, place, grad_outputs=torch.ones_like(maps))
        seen = weight > 1e-3
        return torch.where(seen, total / weight.clamp_min(1e-3), (total[seen].sum() / weight[seen].sum()))


def joined_variations(parts: Sequence[Variations]) -> Variations:
    """All crops, and grids where any part has them; a part without them keeps the crop's own frame. Records and
    warnings are not joined."""
    crops = torch.cat([part.crops for part in parts])
    if all(part.grids is None for part in parts):
        return Variations(crops)
    return Variations(
        crops, torch.cat([identity_grids(len(part)) if part.grids is None else part.grids for part in parts])
    )


def identity_grids(count: int) -> Tensor:
    """(count, 112, 112, 2): each pixel of the crop finds its place in the mask where it is."""
    line = torch.linspace(-1, 1, MASK_SIZE)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).expand(count, -1, -1, -1)


def foreshortening(grids: Tensor) -> Tensor:
    """How many px of the mask a px of each crop is worth, across and down, where these are more than one:
    (N, 112, 112, 2), of grids of the same shape. See :mod:`facecloak.cloaking.crop_change`."""
    padded = functional.pad(grids.movedim(3, 1), (1, 1, 1, 1), mode="replicate")
    # Half of a difference over two px; the grids' unit is half of the mask.
    scale = (MASK_SIZE - 1) / 4
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]).norm(dim=1) * scale
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]).norm(dim=1) * scale
    return torch.stack([across, down], dim=-1).clamp_min(1)


def mirrored_grids(grids: Tensor, mirrored: Tensor) -> Tensor:
    """Grids (N, 112, 112, 2) that were mirrored with their crops, where ``mirrored`` (N, 1, 1, 1), made to read the
    mask as it is: the right side of a mirrored face takes the mask's right side, as that of any face does.

    The face's own frame is as good as symmetric.
    """
    return torch.where(mirrored, grids * torch.tensor([-1.0, 1.0]), grids)
