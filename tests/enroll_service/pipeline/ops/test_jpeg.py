"""Crops through a real JPEG."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from enroll_service.pipeline.ops.jpeg import compressed


@pytest.fixture
def crops(astronaut_srgb_u8: object) -> Tensor:
    pixels = torch.tensor(astronaut_srgb_u8)[40:152, 160:272].permute(2, 0, 1)
    return pixels[None].float().repeat(6, 1, 1, 1)


def test_a_lower_quality_changes_more(crops: Tensor) -> None:
    low, middle, high = (compressed(crops[:3], [60, 85, 95]) - crops[:3]).abs().mean(dim=(1, 2, 3)).tolist()
    assert 0.5 < high < middle < low < 12
