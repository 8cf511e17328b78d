"""Pictures and curves for a report: self-contained markup. The photos of a measurement belong to the people on them, so
a report with pictures stays where it was made."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from facecloak_evaluation.delivered_photo import mask_box
from facecloak_evaluation.perceived_difference import SMALLEST_SIDE_PX
from facecloak_evaluation.visibility import crop_to_box, visibility

if TYPE_CHECKING:
    from facecloak_evaluation.experiment import Example

AMPLIFICATION = 8
"""Factor on the difference between the two photos, around middle gray."""

_QUALITY = 95
_LARGEST_SIDE_PX = 640

# Of a curve's drawing area, px.
_WIDTH, _HEIGHT, _MARGIN = 600, 300, 44


def examples_html(examples: Sequence[Example]) -> str:
    """Each example's face at the photo's own size: before, after, and the difference eight times as large."""
    figures = []
    for example in examples:
        clean = example.photo.clean
        box = mask_box(clean.seen.face.landmarks)
        before, after = crop_to_box(clean.srgb_u8, box), crop_to_box(example.photo.srgb_u8, box)
        difference = np.clip(128 + AMPLIFICATION * (after.astype(np.int32) - before), 0, 255).astype(np.uint8)
        pictures = "".join(
            f"<img alt='{what}' src='{_data_uri(_bounded(picture))}'>"
            for what, picture in (("before", before), ("after", after), ("difference x8", difference))
        )
        verdict = "recognized" if example.margin > 0 else "missed"
        ssim = f"SSIM {visibility(before, after).ssim:.3f}" if min(before.shape[:2]) >= SMALLEST_SIDE_PX else ""
        caption = (
            f"{clean.owner}, photo {clean.number}: {verdict}, {example.margin:+.2f}; {example.photo.outcome} {ssim}"
        )
        figures.append(f"<figure>{pictures}<figcaption>{escape(caption)}</figcaption></figure>")
    return (
        "<h2>Examples, worst first</h2><p class=note>Before, after, and the difference eight times as large around "
        "gray, one photo pixel a picture pixel. The number is how much nearer, in cosine, the owner's nearest photo "
        "is than anybody else's, the mean over the evaluators: above 0 the photo is recognized.</p>" + "".join(figures)
    )


@dataclass(frozen=True)
class _Scale:
    """What a curve is drawn across: a measure's name, what no change has, the least that is shown, rounding."""

    name: str
    label: str
    unchanged: float
    left: float
    step: float


_JOD = _Scale("jod", "JOD of the face as delivered (10 is unchanged)", 10.0, 8.0, 0.5)
_SSIM = _Scale("ssim", "SSIM of the face as delivered (1 is unchanged)", 1.0, 0.8, 0.05)


def strength_curve_svg(points: Sequence[Mapping[str, Any]], *, rank: int, baseline: Mapping[str, Any] | None) -> str:
    """Gain against visibility of the face, one dot a strength.

    `baseline` is another method's headline, drawn as a cross. Visibility is JOD where all have it, else SSIM.
    """
    methods = [*points, *([baseline] if baseline else [])]
    scale = _JOD if all(_visibility_of(method, _JOD) is not None for method in methods) else _SSIM
    drawn = [
        (seen, float(point[f"gain_at_{rank}"]), f"{point['strength']:g}x")
        for point in points
        if (seen := _visibility_of(point, scale)) is not None
    ]
    other_seen = _visibility_of(baseline, scale) if baseline else None
    other = (other_seen, float(baseline["gain"]["value"])) if baseline and other_seen is not None else None
    if not drawn:
        return ""
    lowest = min([seen for seen, _, _ in drawn] + ([other[0]] if other else []))
    left, right = min(scale.left, float(np.floor(lowest / scale.step) * scale.step)), scale.unchanged

    def x(seen: float) -> float:
        return round(_MARGIN + (seen - left) / (right - left) * (_WIDTH - 2 * _MARGIN), 1)

    def y(gain: float) -> float:
        return round(_HEIGHT - _MARGIN - min(max(gain, 0.0), 1.0) * (_HEIGHT - 2 * _MARGIN), 1)

    parts = []
    for step in range(5):
        gain, seen = step / 4, left + (right - left) * step / 4
        parts.append(f"<path d='M{x(left)} {y(gain)}H{x(right)}' stroke='#8884'/>")
        parts.append(f"<text x=4 y={y(gain) + 4} class=axis>{gain:.2f}</text>")
        parts.append(f"<text x={x(seen) - 12} y={_HEIGHT - _MARGIN + 18} class=axis>{seen:.2f}</text>")
    line = " ".join(f"{x(seen)},{y(gain)}" for seen, gain, _ in sorted(drawn))
    parts.append(f"<polyline points='{line}' fill=none stroke='#2f6fde' stroke-width=2 />")
    for seen, gain, label in drawn:
        parts.append(f"<circle cx={x(seen)} cy={y(gain)} r=4 fill='#2f6fde'/>")
        parts.append(f"<text x={x(seen) + 6} y={y(gain) - 6} class=axis>{escape(label)}</text>")
    if other:
        cross_x, cross_y = x(other[0]), y(other[1])
        parts.append(
            f"<path d='M{cross_x - 5} {cross_y - 5}l10 10m-10 0l10 -10' stroke='#d04040' stroke-width=2 />"
            f"<text x={cross_x + 8} y={cross_y - 6} class=axis>published algorithm</text>"
        )
    return (
        f"<svg width={_WIDTH} height={_HEIGHT} viewBox='0 0 {_WIDTH} {_HEIGHT}' role=img "
        f"aria-label='protection against visibility'>{''.join(parts)}</svg>"
        f"<p class=note>Across: {scale.label}. Up: PSR@{rank} above uncloaked photos. "
        "One dot a strength: every level of the same masks times a factor.</p>"
    )


def _visibility_of(method: Mapping[str, Any], scale: _Scale) -> float | None:
    value = method["ssim_face"] if scale is _SSIM else (method.get("face") or {}).get(f"{scale.name}_mean")
    return None if value is None else float(value)


def _bounded(srgb_u8: np.ndarray) -> np.ndarray:
    """The middle of a very large face: one picture pixel stays one photo pixel."""
    height, width = srgb_u8.shape[:2]
    top, left = max(0, (height - _LARGEST_SIDE_PX) // 2), max(0, (width - _LARGEST_SIDE_PX) // 2)
    return srgb_u8[top : top + _LARGEST_SIDE_PX, left : left + _LARGEST_SIDE_PX]


def _data_uri(srgb_u8: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(srgb_u8)).save(buffer, "JPEG", quality=_QUALITY, subsampling="4:4:4")
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
