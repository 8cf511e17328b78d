"""The gradient graphs as served, against torch autograd on the embedding graphs as served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from facecloak.models.convert.external_weights import whole
from facecloak.models.repository import ModelRepository

from .graphs import assert_gradient_agrees

NAMES = ("fr_feature", "dlib_resnet", "faceres", "mobileface", "mobilefacenet", "sface")


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
    repository = ModelRepository(model_repository)
    model = whole(repository.read_model(name), repository.read_weights(name))
    compiled = onnx.load_model_from_string(repository.read_gradient(name))
    assert_gradient_agrees(model, crops, generator=generator, compiled=compiled)
    assert_gradient_agrees(model, crops[:1], generator=generator, compiled=compiled)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_graph_is_hardly_larger_and_has_the_weights_for_both(name: str, model_repository: Path) -> None:
    embedding, gradient = (model_repository / folder / "1" for folder in (name, f"{name}_grad"))
    assert (embedding / "weights.bin").samefile(gradient / "model.onnx")
    graph, both = (embedding / "model.onnx").stat().st_size, (gradient / "model.onnx").stat().st_size
    repository = ModelRepository(model_repository)
    alone = whole(repository.read_model(name), repository.read_weights(name)).ByteSize()
    assert both <= 1.04 * alone
    assert graph <= 0.04 * alone
