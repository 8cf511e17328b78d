from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecloak.models.crop import ARCFACE_TEMPLATE_112, CropTransform
from facecloak.models.errors import SpecInvalid
from facecloak.models.spec import (
    ColorOrder,
    ModelKind,
    Preprocessing,
    RecognizerSpec,
    Source,
    parse_spec,
)

numbers = st.floats(-1000, 1000, allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(
    text=texts,
    mean=st.tuples(numbers, numbers, numbers),
    scale=st.floats(0.1, 10),
    offset=numbers,
    size=st.integers(1, 1024),
    order=st.sampled_from(ColorOrder),
    kind=st.sampled_from(ModelKind),
)
def test_a_spec_survives_its_own_toml(
    text: str, mean: tuple, scale: float, offset: float, size: int, order: ColorOrder, kind: ModelKind
) -> None:
    spec = RecognizerSpec(
        name="net_1",
        kind=kind,
        license=text,
        permitted_use=text,
        source=Source(package=text, weights_sha256="0" * 64),
        crop=CropTransform(width=size, height=size, scale=scale, offset_x=offset, offset_y=-offset),
        preprocessing=Preprocessing(order, mean=mean, scale=(scale, scale, scale)),
        embedding_size=512,
        model_sha256="a" * 64,
    )
    assert parse_spec(spec.to_toml()) == spec


def test_only_the_name_is_needed() -> None:
    spec = parse_spec('name = "plain"')
    assert spec.crop.is_identity
    assert spec.preprocessing == Preprocessing()
    assert spec.is_recognizer
    assert not spec.has_gradient


def test_one_number_stands_for_three_channels() -> None:
    spec = parse_spec('name = "a"\n[preprocessing]\nmean = 127.5\nscale = [1, 2, 3]')
    assert spec.preprocessing.mean == (127.5,) * 3
    assert spec.preprocessing.scale == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("toml", "field"),
    [
        ("name = ", "not valid TOML"),
        ("", "name"),
        ("name = 3", "name"),
        ('name = "../../etc"', "name"),
        ('name = "Upper"', "name"),
        ('name = "x_grad"', "name"),
        ('name = "a"\nlicence = "MIT"', "licence"),
        ('name = "a"\nkind = "oracle"', "kind"),
        ('name = "a"\nembedding_size = true', "embedding_size"),
        ('name = "a"\nembedding_size = -1', "embedding_size"),
        ('name = "a"\nembedding_size = 1.5', "embedding_size"),
        ('name = "a"\nsource = "npm"', "source"),
        ('name = "a"\n[preprocessing]\nmean = [1, 2]', "mean"),
        ('name = "a"\n[preprocessing]\nmean = [nan, 0, 0]', "preprocessing"),
        ('name = "a"\n[preprocessing]\nscale = 0', "scale"),
        ('name = "a"\n[preprocessing]\ncolor_order = "GBR"', "color_order"),
        ('name = "a"\n[crop]\nsize = 0', "crop"),
        ('name = "a"\n[crop]\nsize = 100000', "crop"),
        ('name = "a"\n[crop]\nscale = inf', "crop.scale"),
        ('name = "a"\n[crop]\nscale = 1000', "crop.scale"),
        ('name = "a"\n[crop]\noffset = [nan, 0]', "crop.offset"),
        ('name = "a"\n[crop]\nscale = 2\ntemplate = [[1,2],[3,4],[5,6],[7,8],[9,10]]', "crop"),
        ('name = "a"\n[crop]\ntemplate = [[1,2]]', "crop.template"),
        ('name = "a"\n[digests]\nmodel = "abc"', "sha256"),
    ],
)
def test_a_bad_spec_is_refused_by_field(toml: str, field: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        parse_spec(toml)
    assert field in caught.value.public_message


def test_bytes_that_are_no_text_and_a_huge_spec_are_refused() -> None:
    with pytest.raises(SpecInvalid):
        parse_spec(b"\xff\xfe\x00")
    with pytest.raises(SpecInvalid, match="larger"):
        parse_spec("#" * 70_000)


def _template_toml(points: list[tuple[float, float]], size: int) -> str:
    rows = ", ".join(f"[{x}, {y}]" for x, y in points)
    return f'name = "a"\n[crop]\nsize = {size}\ntemplate = [{rows}]'


def test_a_template_gives_scale_and_offset() -> None:
    points = [(1.5 * x - 8.0, 1.5 * y - 31.0) for x, y in ARCFACE_TEMPLATE_112]
    crop = parse_spec(_template_toml(points, 150)).crop
    assert (crop.width, crop.height) == (150, 150)
    assert crop.scale == pytest.approx(1.5)
    assert (crop.offset_x, crop.offset_y) == pytest.approx((-8.0, -31.0))


@pytest.mark.parametrize(
    "points",
    [
        [(y, x) for x, y in ARCFACE_TEMPLATE_112],  # mirrored at the diagonal
        [(-x, -y) for x, y in ARCFACE_TEMPLATE_112],  # upside down
        [(x - 0.2 * y, y + 0.2 * x) for x, y in ARCFACE_TEMPLATE_112],  # rotated by 11 degrees
        [(1.0, 1.0)] * 5,
    ],
)
def test_a_template_that_scaling_cannot_reach_is_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(SpecInvalid, match="template"):
        parse_spec(_template_toml(points, 112))
