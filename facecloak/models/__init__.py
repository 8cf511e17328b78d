"""Bringing models in: packages of npm and PyPI, conversion to ONNX, preparation, verification.

Of FaceCloak only this package and :mod:`facecloak.recognizers.gradient` import onnx; importing this module does not.
"""
