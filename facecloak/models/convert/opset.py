"""Any opset up to 21 brought to 18, the one that is served."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import defs, version_converter

from facecloak.models.convert.graph_builder import OPSET
from facecloak.models.errors import ModelUnsupported

NEWEST_OPSET = 21
"""The last one whose changes since 18 are known here."""

_ONLY_MORE_TYPES = frozenset(
    {
        *("Cast", "Constant", "ConstantOfShape", "Flatten", "Identity", "Reshape", "Shape", "Size"),
        *("Squeeze", "Transpose", "Unsqueeze"),
    }
)
"""Operators whose new versions from opset 19 to 21 take further types and change nothing else (ONNX Changelog.md). The
checker finds a type or an attribute that opset 18 lacks."""


def to_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in opset 18: an older one converted up, a newer one (to 21) if all its operators mean the same in 18.

    Raises:
        ModelUnsupported: there is no way; names the operators that stand in it.
    """
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if version == OPSET:
        return model
    if version > OPSET:
        return _lowered(model, version)
    model.ir_version = max(model.ir_version, 4)
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # onnx's C++ converter raises RuntimeError and others
        raise ModelUnsupported(f"the model cannot be brought from opset {version} to {OPSET}", opset=version) from error


def _lowered(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    # onnx's own converter has no way down from here for most operators.
    advice = f"export it as opset {OPSET} or lower"
    if version > NEWEST_OPSET:
        raise ModelUnsupported(f"the model is opset {version}; {advice}", opset=version)
    changed = sorted({name for name in _operators(model.graph) if not _means_the_same(name, version)})
    if changed:
        message = f"the model is opset {version}, where {', '.join(changed)[:200]} changed since {OPSET}; {advice}"
        raise ModelUnsupported(message, opset=version)
    del model.opset_import[:]
    model.opset_import.add(domain="", version=OPSET)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # onnx raises its own classes and RuntimeError
        raise ModelUnsupported(f"the model uses what opset {version} has and {OPSET} has not; {advice}") from error
    return model


def _operators(graph: onnx.GraphProto) -> Iterator[str]:
    """Types of all nodes, those in branches included."""
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            for branch in (attribute.g, *attribute.graphs):
                yield from _operators(branch)


def _means_the_same(operator: str, version: int) -> bool:
    if operator in _ONLY_MORE_TYPES:
        return True
    try:
        then, now = (defs.get_schema(operator, max_inclusive_version=opset) for opset in (OPSET, version))
    except defs.SchemaError:
        return False
    return then.since_version == now.since_version
