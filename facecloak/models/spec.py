"""What a model is: one frozen record beside each ONNX file, kept as ``spec.toml``.

The prepared graphs in a model repository need nothing of this to run (crop, color and scale are inside the graph); the
spec says where a model comes from, what it may be used for, and the digests that a loader checks.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from facecloak.models.crop import CROP_SIZE, CropTransform
from facecloak.models.errors import SpecInvalid

MAX_SPEC_BYTES = 64 * 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,62}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class ModelKind(StrEnum):
    """What a model of the repository does."""

    RECOGNIZER = "recognizer"
    FACE_DETECTOR = "face_detector"
    FACE_LANDMARKS = "face_landmarks"


class ColorOrder(StrEnum):
    """Order of the three channels that the network was trained on."""

    RGB = "RGB"
    BGR = "BGR"


@dataclass(frozen=True)
class Source:
    """Where the weights come from.

    ``weights_sha256`` is the digest of the weights as published (before any conversion): two recognizers with the same
    one are the same recognizer, whatever their names. ``integrity`` is the registry's own ("sha512-..." or empty).
    """

    package: str = ""
    version: str = ""
    integrity: str = ""
    file: str = ""
    weights_sha256: str = ""


@dataclass(frozen=True)
class Preprocessing:
    """What the network expects at its input: ``(value_0_255 - mean) * scale``, in the network's channel order."""

    color_order: ColorOrder = ColorOrder.RGB
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class RecognizerSpec:
    """One model of the repository.

    ``input`` and ``output`` name the tensors of the network as published; the prepared graph always has ``crops`` and
    ``embedding``. ``embedding_size`` is 0 for detectors and landmark models. An empty ``gradient_sha256`` means that
    the recognizer can be evaluated with but not learned from. ``weights_sha256`` is that of the file that the prepared
    graph's weights lie in, empty where they lie in the graph's own.
    """

    name: str
    kind: ModelKind = ModelKind.RECOGNIZER
    license: str = ""
    permitted_use: str = ""
    source: Source = field(default_factory=Source)
    crop: CropTransform = field(default_factory=CropTransform)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    input: str = ""
    output: str = ""
    embedding_size: int = 0
    model_sha256: str = ""
    gradient_sha256: str = ""
    weights_sha256: str = ""
    recipe: str = ""
    """Digest of everything that made the prepared file: a later `models pull` redoes it when this changes."""

    def __post_init__(self) -> None:
        _require(_NAME.match(self.name) is not None, "name", "lower-case letters, digits and _, at most 63")
        _require(not self.name.endswith("_grad"), "name", "must not end in _grad (kept for gradient graphs)")
        _require(1 <= self.crop.width <= 1024 and 1 <= self.crop.height <= 1024, "crop", "sides of 1 to 1024 px")
        _require(0.05 <= self.crop.scale <= 20, "crop.scale", "0.05 to 20")
        _require(abs(self.crop.offset_x) <= 4096 and abs(self.crop.offset_y) <= 4096, "crop offset", "within 4096 px")
        numbers = (*self.preprocessing.mean, *self.preprocessing.scale)
        _require(all(map(math.isfinite, numbers)), "preprocessing", "finite numbers")
        _require(all(self.preprocessing.scale), "preprocessing.scale", "not zero")
        _require(0 <= self.embedding_size <= 65536, "embedding_size", "0 to 65536")
        for digest in (self.model_sha256, self.gradient_sha256, self.weights_sha256, self.source.weights_sha256):
            _require(not digest or _SHA256.match(digest) is not None, "sha256", "64 lower-case hex digits")

    @property
    def is_recognizer(self) -> bool:
        return self.kind is ModelKind.RECOGNIZER

    @property
    def has_gradient(self) -> bool:
        return bool(self.gradient_sha256)

    def with_digests(
        self, *, model_sha256: str, gradient_sha256: str = "", weights_sha256: str = "", recipe: str = ""
    ) -> RecognizerSpec:
        """This spec, completed by the import."""
        return replace(
            self,
            model_sha256=model_sha256,
            gradient_sha256=gradient_sha256,
            weights_sha256=weights_sha256,
            recipe=recipe,
        )

    def to_toml(self) -> str:
        """The text of ``spec.toml``; :func:`parse_spec` is its inverse."""
        crop, prep, source = self.crop, self.preprocessing, self.source
        document: dict[str, Any] = {
            "name": self.name,
            "kind": str(self.kind),
            "license": self.license,
            "permitted_use": self.permitted_use,
            "input": self.input,
            "output": self.output,
            "embedding_size": self.embedding_size,
            "source": {name: getattr(source, name) for name in _SOURCE_FIELDS},
            "crop": {
                "size": [crop.width, crop.height],
                "scale": crop.scale,
                "offset": [crop.offset_x, crop.offset_y],
            },
            "preprocessing": {
                "color_order": str(prep.color_order),
                "mean": list(prep.mean),
                "scale": list(prep.scale),
            },
            "digests": {
                "model": self.model_sha256,
                "gradient": self.gradient_sha256,
                "weights": self.weights_sha256,
                "recipe": self.recipe,
            },
        }
        return _toml(document)


_SOURCE_FIELDS = ("package", "version", "integrity", "file", "weights_sha256")
_TOP_FIELDS = {
    *("name", "kind", "license", "permitted_use", "input", "output", "embedding_size"),
    *("source", "crop", "preprocessing", "digests"),
}


def parse_spec(text: str | bytes) -> RecognizerSpec:
    """Read the text of a ``spec.toml``.

    ``[crop]`` holds either ``scale`` and ``offset``, or ``template``: the five points (eyes, nose, mouth corners; px of
    the recognizer's own input) that it was trained on, from which scale and offset are fitted.

    Raises:
        SpecInvalid: not TOML, larger than 64 KiB, an unknown field, or a value outside its range; names the field.
    """
    if len(text) > MAX_SPEC_BYTES:
        raise SpecInvalid(f"spec.toml is larger than {MAX_SPEC_BYTES} bytes", limit=MAX_SPEC_BYTES)
    try:
        data = tomllib.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecInvalid(f"spec.toml is not valid TOML: {error}") from error
    _only(data, _TOP_FIELDS, "")
    source = _table(data, "source")
    _only(source, set(_SOURCE_FIELDS), "source.")
    preprocessing = _table(data, "preprocessing")
    _only(preprocessing, {"color_order", "mean", "scale"}, "preprocessing.")
    digests = _table(data, "digests")
    _only(digests, {"model", "gradient", "weights", "recipe"}, "digests.")
    if "name" not in data:
        raise SpecInvalid("spec.toml: name is missing", field="name")
    return RecognizerSpec(
        name=_text(data, "name"),
        kind=_choice(data, "kind", ModelKind, ModelKind.RECOGNIZER),
        license=_text(data, "license"),
        permitted_use=_text(data, "permitted_use"),
        source=Source(**{name: _text(source, name) for name in _SOURCE_FIELDS}),
        crop=_crop(_table(data, "crop")),
        preprocessing=Preprocessing(
            color_order=_choice(preprocessing, "color_order", ColorOrder, ColorOrder.RGB),
            mean=_triple(preprocessing, "mean", 0.0),
            scale=_triple(preprocessing, "scale", 1.0),
        ),
        input=_text(data, "input"),
        output=_text(data, "output"),
        embedding_size=_whole(data, "embedding_size", 0),
        model_sha256=_text(digests, "model"),
        gradient_sha256=_text(digests, "gradient"),
        weights_sha256=_text(digests, "weights"),
        recipe=_text(digests, "recipe"),
    )


def _toml(document: Mapping[str, Any]) -> str:
    """TOML of texts, numbers, flat lists and one level of tables: all that a spec holds (TOML v1.0.0)."""
    lines = [f"{key} = {_toml_value(value)}" for key, value in document.items() if not isinstance(value, dict)]
    for name, table in document.items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_toml_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    # A JSON text is a TOML basic string but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def _require(condition: bool, name: str, rule: str) -> None:
    if not condition:
        raise SpecInvalid(f"spec.toml: {name} must be: {rule}", field=name)


def _only(table: Mapping[str, Any], known: set[str], prefix: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise SpecInvalid(f"spec.toml: unknown field {prefix}{unknown[0]}", field=prefix + unknown[0])


def _table(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key, {})
    _require(isinstance(value, dict), key, "a table")
    return value


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, "")
    _require(isinstance(value, str) and len(value) <= 2000, key, "a text of at most 2000 characters")
    return value


def _whole(data: Mapping[str, Any], key: str, default: int) -> int:
    value = data.get(key, default)
    _require(isinstance(value, int) and not isinstance(value, bool), key, "a whole number")
    return value


def _numbers(value: Any, *, count: int, name: str) -> tuple[float, ...]:
    good = isinstance(value, list) and len(value) == count and all(type(v) in (int, float) for v in value)
    _require(good, name, f"a list of {count} numbers")
    return tuple(float(v) for v in value)


def _triple(data: Mapping[str, Any], key: str, default: float) -> tuple[float, float, float]:
    value = data.get(key, default)
    if type(value) in (int, float):
        value = [value] * 3
    a, b, c = _numbers(value, count=3, name=key)
    return a, b, c


_E = TypeVar("_E", bound=StrEnum)


def _choice(data: Mapping[str, Any], key: str, choices: Callable[[str], _E], default: _E) -> _E:
    try:
        return choices(data.get(key, default))
    except ValueError as error:
        raise SpecInvalid(f"spec.toml: {key}: {error}", field=key) from error


def _crop(table: Mapping[str, Any]) -> CropTransform:
    _only(table, {"size", "scale", "offset", "template"}, "crop.")
    size = table.get("size", CROP_SIZE)
    sides = _numbers([size, size] if isinstance(size, int) else size, count=2, name="crop.size")
    _require(all(side == int(side) for side in sides), "crop.size", "whole numbers [width, height]")
    width, height = (int(side) for side in sides)
    if "template" in table:
        _require("scale" not in table and "offset" not in table, "crop", "either template or scale and offset")
        from facecloak.models.crop import crop_from_template  # numpy only where a template is given

        points = table["template"]
        _require(isinstance(points, list) and len(points) == 5, "crop.template", "five points")
        pairs = [_numbers(point, count=2, name="crop.template") for point in points]
        return crop_from_template(pairs, width=width, height=height)
    scale = table.get("scale", 1.0)
    _require(type(scale) in (int, float) and math.isfinite(scale), "crop.scale", "a finite number")
    offset_x, offset_y = _numbers(table.get("offset", [0.0, 0.0]), count=2, name="crop.offset")
    _require(math.isfinite(offset_x) and math.isfinite(offset_y), "crop.offset", "finite numbers")
    return CropTransform(width=width, height=height, scale=float(scale), offset_x=offset_x, offset_y=offset_y)
