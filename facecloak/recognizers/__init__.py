"""Recognizers: one protocol, and the places where they run: in this process or on Triton."""

from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak.recognizers.runtime import GradientResult, RecognizerRuntime

__all__ = ["GradientResult", "OnnxRuntime", "RecognizerRuntime"]
