"""TensorFlow.js graph models to ONNX: NCHW, float32, dynamic batch.

Only what published face networks use, a rule an operation (see :mod:`.tfjs_ops`). Values of four dimensions are kept
in ONNX's NCHW order and turned back only where a model reshapes them; anything that a rule does not cover is refused
by name.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from facecloak.models.convert.graph_builder import BATCH
from facecloak.models.convert.tfjs_graph import Conversion, TfjsNode, Value
from facecloak.models.convert.tfjs_weights import decode_weights
from facecloak.models.errors import ModelUnsupported


def convert_graph_model(
    model_json: bytes, files: Mapping[str, bytes], *, outputs: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """Convert a TensorFlow.js graph model.

    Args:
        model_json: the ``model.json`` (format "graph-model").
        files: its weight files by name.
        outputs: TensorFlow node name -> name of the ONNX output, in the order wanted. None takes the model's own
            ``Identity`` outputs in alphabetical order under their own names.

    Returns:
        A checked opset-18 model. The image input has the model's own name and shape (N, C, H, W), the model's own
        value range. Outputs are in TensorFlow's dimension order.

    Raises:
        ModelUnsupported: not a graph model, an operation without a rule (named), or weights that do not fit.
    """
    from facecloak.models.convert.tfjs_ops import RULES

    try:
        document = json.loads(model_json)
        nodes = [_node(raw) for raw in document["modelTopology"]["node"]]
        manifest: Sequence[Mapping[str, Any]] = document["weightsManifest"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelUnsupported("not a TensorFlow.js graph model") from error
    conversion = Conversion(decode_weights(manifest, files))
    if outputs is None:
        outputs = {name: name for name in sorted(node.name for node in nodes if node.operation == "Identity")}
    nodes = _needed(nodes, outputs)
    unknown = sorted({node.operation for node in nodes} - set(RULES) - {"Const", "Placeholder"})
    if unknown:
        raise ModelUnsupported(f"no conversion rule for: {', '.join(unknown)}", operations=",".join(unknown))
    inputs: dict[str, list[int | str]] = {}
    for node in nodes:
        if node.operation == "Placeholder":
            height, width, channels = _image_shape(node)
            inputs[node.name] = [BATCH, channels, height, width]
            conversion.values[node.name] = Value(node.name, (None, height, width, channels), is_nchw=True)
        elif node.operation != "Const":
            try:
                RULES[node.operation](conversion, node)
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise ModelUnsupported(f"{node.operation} {node.name!r} is written in an unknown way") from error
    shapes: dict[str, list[int | str]] = {}
    for source, name in outputs.items():
        value = conversion.plain(conversion.value(source))
        conversion.graph.add("Identity", value.name, output=name)
        shapes[name] = [BATCH if side is None else side for side in value.shape]
    return conversion.graph.model(inputs=inputs, outputs=shapes)


def _needed(nodes: Sequence[TfjsNode], outputs: Mapping[str, str]) -> list[TfjsNode]:
    """The nodes that lead to the outputs, in an order in which each comes after its inputs."""
    by_name = {node.name: node for node in nodes}
    missing = sorted(set(outputs) - set(by_name))
    if missing or not outputs:
        raise ModelUnsupported(f"the graph has no node {missing[0]!r}" if missing else "the graph has no outputs")
    ordered: dict[str, TfjsNode] = {}
    stack = [(name, False) for name in reversed(list(outputs))]
    opened: set[str] = set()
    while stack:
        name, ready = stack.pop()
        if name in ordered:
            continue
        if ready:
            ordered[name] = by_name[name]
            continue
        if name not in by_name or name in opened:
            raise ModelUnsupported(f"the graph's node {name!r} is missing or depends on itself")
        opened.add(name)
        stack.append((name, True))
        stack += [(source, False) for source in by_name[name].inputs if source not in ordered]
    return list(ordered.values())


def _image_shape(node: TfjsNode) -> tuple[int, int, int]:
    sides = [int(side["size"]) for side in node.attributes["shape"]["dim"]]
    if len(sides) != 4 or min(sides[1:]) < 1 or max(sides) > 4096:
        raise ModelUnsupported(f"the input {node.name!r} is not an image of fixed size")
    return sides[1], sides[2], sides[3]


def _node(raw: Mapping[str, Any]) -> TfjsNode:
    inputs = tuple(name.split(":")[0] for name in raw.get("input", []) if not name.startswith("^"))
    if any(name.endswith((":1", ":2")) for name in raw.get("input", [])):
        raise ModelUnsupported(f"{raw['name']!r} reads a second output")
    attributes = {key: _attribute(value) for key, value in raw.get("attr", {}).items()}
    return TfjsNode(raw["name"], raw["op"], inputs, attributes)


def _attribute(value: Mapping[str, Any]) -> Any:
    """GraphDef's AttrValue in proto3 JSON: int64 as text, bytes as base64."""
    if "list" in value:
        items = value["list"]
        return [_attribute({key: item}) for key in ("i", "s", "f", "b") for item in items.get(key, [])]
    if "i" in value:
        return int(value["i"])
    if "s" in value:
        try:
            return base64.b64decode(value["s"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ModelUnsupported("a text attribute of the graph is damaged") from error
    return next(iter(value.values()), None)
