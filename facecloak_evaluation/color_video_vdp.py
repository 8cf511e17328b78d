"""ColorVideoVDP (Mantiuk et al., SIGGRAPH 2024): how much worse a picture is, in just-objectionable differences (JOD).

10 is no difference; where two pictures are 1 JOD apart, 75 % of people choose the better one. The face is enlarged to
448 px a side and seen at 60 px a degree on a standard display: a portrait that fills a phone. Plain JPEG 75 has about
9.4.

The package is not among the extras: it wants torchvision, of which the registry's file does not load beside the CPU
build of torch. Of that it uses one class, a Gaussian blur, which kornia's replaces here; what it imports only to read
videos or for its learned variants is left out. So HOW_TO_INSTALL is enough. Nothing of this stays in ``sys.modules`` or
``sys.path`` for other code to meet.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from facecloak_evaluation.perceived_difference import check_pictures

if TYPE_CHECKING:
    from torch import Tensor

HOW_TO_INSTALL = "pip install --no-deps cvvdp==0.5.7 tqdm"
DESCRIPTION = "ColorVideoVDP, face enlarged to 448 px a side (bicubic), 60 px a degree, display standard_fhd"

SIDE_PX = 448
PIXELS_PER_DEGREE = 60

_PACKAGE = "pycvvdp"
_DISPLAY = "standard_fhd"
_DISPLAY_RESOLUTION = [1080, 1920]

# What its modules import for other work than ours: other metrics, videos, EXR files, learned variants.
_LEFT_OUT = ("ffmpeg", "pyexr", "huggingface_hub", "einops", "einops.layers", "einops.layers.torch", "torchvision",
             "torchvision.ops", "torchvision.transforms")  # fmt: skip

_lock = threading.Lock()


def is_available() -> bool:
    """Whether the package is installed (with torch and kornia, which the extra `enroll` has)."""
    return all(importlib.util.find_spec(name) is not None for name in (_PACKAGE, "torch", "kornia", "tqdm"))


def jod(original_srgb_u8: np.ndarray, changed_srgb_u8: np.ndarray) -> float:
    """JOD of two (H, W, 3) uint8 pictures of a face; 10 is no difference. One at a time, about a second on one core.

    Raises:
        ValueError: see :func:`facecloak_evaluation.perceived_difference.check_pictures`.
        ModuleNotFoundError: not :func:`is_available`.
    """
    check_pictures(original_srgb_u8, changed_srgb_u8)
    original, changed = (
        cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
        for picture in (original_srgb_u8, changed_srgb_u8)
    )
    with _lock:  # the metric keeps its frames in itself
        value, _ = _metric().predict(changed, original, dim_order="HWC")
    return float(value)


@functools.cache
def _metric() -> Any:
    import torch

    # torch's benchmark module imports setuptools, which fails where distutils was imported first.
    os.environ.setdefault("SETUPTOOLS_USE_DISTUTILS", "stdlib")
    with _stand_ins():
        pycvvdp = importlib.import_module(_PACKAGE)
    geometry = pycvvdp.vvdp_display_geometry(_DISPLAY_RESOLUTION, ppd=PIXELS_PER_DEGREE)
    return pycvvdp.cvvdp(display_name=_DISPLAY, display_geometry=geometry, device=torch.device("cpu"), quiet=True)


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    """Empty modules in place of what is left out, for the import only; what was imported before comes back."""
    path, known = list(sys.path), set(sys.modules)
    before = {name: sys.modules[name] for name in _LEFT_OUT if name in known}
    try:
        for name in _LEFT_OUT:
            sys.modules[name] = _StandIn(name)
        yield
    finally:
        for name in _LEFT_OUT:
            del sys.modules[name]
        sys.modules.update(before)
        # It puts its own folder into the path, and then imports parts of itself under names such as `interp`.
        for name in set(sys.modules) - known:
            if not name.startswith(_PACKAGE) and _is_part_of_it(sys.modules[name]):
                del sys.modules[name]
        sys.path[:] = path


def _is_part_of_it(module: ModuleType) -> bool:
    return f"{os.sep}{_PACKAGE}{os.sep}" in (getattr(module, "__file__", None) or "")


class _StandIn(ModuleType):
    """A module that has every name, none of which does anything but the blur."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # so that its parts can be imported

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _GaussianBlur if name == "GaussianBlur" else type(name, (), {})


class _GaussianBlur:
    """torchvision.transforms.GaussianBlur of one sigma, as ColorVideoVDP calls it: ``forward`` on (N, C, H, W)."""

    def __init__(self, kernel_size: int, sigma: float) -> None:
        self._side, self._sigma = int(kernel_size), float(sigma)

    def forward(self, pictures: Tensor) -> Tensor:
        from kornia.filters import gaussian_blur2d

        side, sigma = (self._side, self._side), (self._sigma, self._sigma)
        blurred: Tensor = gaussian_blur2d(pictures, side, sigma, border_type="reflect")
        return blurred

    __call__ = forward
