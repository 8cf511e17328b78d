"""Models: what they are, where they are kept, how they are brought, converted, checked and opened.

Only :mod:`facecloak.models.convert` and :mod:`facecloak.onnx_gradient` import onnx, and what calls them when it runs.
"""
