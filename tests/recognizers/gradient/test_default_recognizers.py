"""The gradient graphs as served, against torch autograd on the embedding graphs as served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from .graphs import assert_gradient_agrees

NAMES = ("fr_feature", "dlib_resnet", "faceres", "mobileface")


@pytest.fixture(scope="module")
def crops(astronaut_srgb_u8: np.ndarray) -> np.ndarray:
    """[3, 3, 112, 112] float32: a face, its mirror image and another part of the photo; 0..255 RGB.

    Some grain is added: in flat black areas whole patches of a layer lie on one kink, float32 and float64 on different
    sides of it.
    """
    face = astronaut_srgb_u8[60:172, 168:280]
    pictures = np.stack([face, face[:, ::-1], astronaut_srgb_u8[300:412, 200:312]])
    grain = np.random.default_rng(0).uniform(-1, 1, pictures.shape)
    return np.ascontiguousarray((pictures + grain).clip(0, 255).transpose(0, 3, 1, 2)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_served_gradient_agrees_with_torch(
    name: str, model_repository: Path, crops: np.ndarray, generator: np.random.Generator
) -> None:
    model = onnx.load(model_repository / name / "1" / "model.onnx")
    compiled = onnx.load(model_repository / f"{name}_grad" / "1" / "model.onnx")
    assert_gradient_agrees(model, crops, generator=generator, compiled=compiled)
    assert_gradient_agrees(model, crops[:1], generator=generator, compiled=compiled)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_graph_is_hardly_larger(name: str, model_repository: Path) -> None:
    sizes = [(model_repository / folder / "1" / "model.onnx").stat().st_size for folder in (name, f"{name}_grad")]
    assert sizes[1] <= 1.04 * sizes[0]
