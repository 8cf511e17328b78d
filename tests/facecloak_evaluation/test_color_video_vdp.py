"""ColorVideoVDP through its stand-ins: figures of the package itself, and nothing left behind."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

from facecloak_evaluation import color_video_vdp
from facecloak_evaluation.color_video_vdp import jod
from facecloak_evaluation.visibility import visibility_to_people

pytestmark = pytest.mark.jod

needs_package = pytest.mark.skipif(
    not color_video_vdp.is_available(), reason=f"cvvdp is not installed: {color_video_vdp.HOW_TO_INSTALL}"
)


def face() -> np.ndarray:
    return np.ascontiguousarray(skimage.data.astronaut()[0:200, 130:330])


def through_jpeg(srgb_u8: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(srgb_u8).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


@needs_package
def test_literal_values() -> None:
    # Of cvvdp 0.5.7 with all that it imports installed, torchvision's blur being kornia's: the same to the last digit.
    assert jod(face(), face()) == 10
    assert jod(face(), through_jpeg(face(), 75)) == pytest.approx(9.434, abs=0.01)
    oblong = np.ascontiguousarray(skimage.data.astronaut()[0:150, 100:400])
    assert jod(oblong, through_jpeg(oblong, 30)) == pytest.approx(9.003, abs=0.01)


@needs_package
def test_nothing_that_stands_in_stays() -> None:
    # In a process of its own: this one may have imported anything.
    code = (
        "import sys, numpy as np; from facecloak_evaluation.color_video_vdp import jod;"
        "path = list(sys.path); jod(*2 * [np.full((16, 16, 3), 90, np.uint8)]);"
        "left = {'torchvision', 'ffmpeg', 'pyexr', 'einops', 'interp', 'third_party', 'utils'} & set(sys.modules);"
        "assert not left, left; assert path == sys.path"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_package
@pytest.mark.parametrize("second", [face()[:-1], face().astype(np.float32)])
def test_what_cannot_be_compared_is_refused(second: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pictures"):
        jod(face(), second)


def test_without_the_package_the_rest_is_still_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(color_video_vdp, "_PACKAGE", "no_such_package")
    seen = visibility_to_people(face(), through_jpeg(face(), 75))
    assert seen.jod is None
    assert seen.ssimulacra2 == pytest.approx(74.05, abs=0.5)
    assert seen.flip_99 == pytest.approx(0.116, abs=0.005)
