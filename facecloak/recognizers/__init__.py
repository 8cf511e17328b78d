"""Recognizers: what they are, where they are kept, how they are run.

Importing new ones is in :mod:`facecloak.recognizers.importing`, which alone needs onnx.
"""

from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak.recognizers.repository import ModelRepository
from facecloak.recognizers.runtime import GradientResult, RecognizerRuntime
from facecloak.recognizers.spec import CROP_SIZE, ColorOrder, CropTransform, ModelKind, Preprocessing, RecognizerSpec

__all__ = [
    "CROP_SIZE",
    "ColorOrder",
    "CropTransform",
    "GradientResult",
    "ModelKind",
    "ModelRepository",
    "OnnxRuntime",
    "Preprocessing",
    "RecognizerRuntime",
    "RecognizerSpec",
]
