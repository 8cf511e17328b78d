"""Stage three: rounding, and warnings that say what a mask's measurement means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from enroll_service.pipeline.ops.quantize import quantize
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.personalize.measure import measure, warnings_for
from enroll_service.pipeline.perturb.ensemble import Target
from enroll_service.pipeline.perturb.targets import own_identity
from enroll_service.pipeline.report import Measurement, Similarity
from facecloak.masks.mask import Mask
from facecloak.recognizers import OnnxRuntime


def test_quantize_rounds_to_whole_levels_within_int8() -> None:
    levels = torch.tensor([0.4, 0.6, -0.6, 300.0, -300.0, 2.5])
    pixels = quantize(levels.view(1, 1, 1, 6).expand(1, 3, 1, 6))
    assert pixels.dtype == np.int8
    assert pixels[0, :, 0].tolist() == [0, 1, -1, 127, -127, 2]


def _report(**after: float) -> Measurement:
    return Measurement(similarities={name: Similarity(before=0.97, after=value) for name, value in after.items()})


def test_a_weak_mask_and_a_small_face_are_warned_of() -> None:
    # Strangers are at 0.845 for dlib_resnet and at 0.018 for fr_feature: the same 0.85 is nothing left, or nearly all.
    assert warnings_for(_report(dlib_resnet=0.85, fr_feature=0.1), eye_distances_px=[60.0]) == []
    weak = warnings_for(_report(dlib_resnet=0.96, fr_feature=0.85), eye_distances_px=[60.0])
    assert [text.split(":")[0] for text in weak] == ["The mask is weak"]
    small = warnings_for(_report(fr_feature=0.1), eye_distances_px=[18.0, 20.0])
    assert [text.split(";")[0] for text in small] == ["The enrolled face is small"]
    assert warnings_for(_report(somebody_elses=0.97), eye_distances_px=[60.0]) == []


def _mask(pixels: np.ndarray, displacement: np.ndarray | None = None) -> Mask:
    return Mask.new(pixels, seed=0, displacement=displacement)


@pytest.fixture(scope="module")
def runtime(model_repository: Path) -> OnnxRuntime:
    return OnnxRuntime(model_repository, names=["mobileface"], threads=1)


def test_no_mask_measures_as_no_change(runtime: OnnxRuntime, astronaut_srgb_u8: np.ndarray) -> None:
    crop = np.ascontiguousarray(astronaut_srgb_u8[60:172, 170:282].transpose(2, 0, 1)[None], dtype=np.float32)
    near = own_identity(runtime, "mobileface", crop)
    targets = {"mobileface": Target(near=near, far=-near)}
    held_out = Variations(torch.from_numpy(crop.copy()))
    nothing = np.zeros((112, 112, 3), np.int8)
    report = measure(_mask(nothing), shown=held_out, held_out=held_out, runtime=runtime, targets=targets)
    assert (report.ssim, report.psnr_db, report.max_level, report.chroma_share) == (1.0, None, 0, 0.0)
    pair = report.similarities["mobileface"]
    assert pair.before == pair.after > 0.9
    assert pair.psr_estimate == report.psr_estimate == 0.0
    assert (report.variations, "JPEG 85" in report.condition) == (1, True)

    assert (report.jod, report.ssimulacra2, report.displacement, report.ssim_painted) == (10.0, 100.0, None, 1.0)

    moved = np.zeros((28, 28, 2), np.int8)
    moved[8:20, 8:20, 0] = 32
    report = measure(_mask(nothing, moved), shown=held_out, held_out=held_out, runtime=runtime, targets=targets)
    # What is moved is not painted: it is told apart.
    assert (report.jod, report.ssim_painted) == (10.0, 1.0)
    assert report.ssim < 0.97
    assert report.displacement is not None
    assert report.displacement.largest_percent == pytest.approx(100 / 35.24, rel=0.3)
    assert report.displacement.asymmetry_percent > 1
    assert report.similarities["mobileface"].after < pair.before

    rng = np.random.default_rng(0)
    noise = rng.integers(-20, 21, (112, 112, 3)).astype(np.int8)
    report = measure(_mask(noise), shown=held_out, held_out=held_out, runtime=runtime, targets=targets)
    assert report.ssim < 0.9
    assert 20 < report.psnr_db < 35
    assert report.max_level == 20
    # Of three independent channels two thirds of the energy is color.
    assert report.chroma_share == pytest.approx(2 / 3, abs=0.02)

    inverted = (255 - 2 * crop[0].transpose(1, 2, 0)).clip(-127, 127).astype(np.int8)
    report = measure(_mask(inverted), shown=held_out, held_out=held_out, runtime=runtime, targets=targets)
    assert report.psr_estimate == report.similarities["mobileface"].psr_estimate == 1.0
