"""One photo before and after, as HTML: the verdict first, a slider, the face enlarged, the difference, and a scale."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib.resources import files

import cv2
import numpy as np

from facecloak.faces import Box
from facecloak_evaluation.visibility import Visibility
from facecloak_studio.comparison import Comparison
from facecloak_studio.verdict import GALLERY, MatchVerdict, headline, tone

AMPLIFICATION = 8
LEGEND = (
    '<ul class="legend"><li><span class="dot track" style="background:none"><i class="was"></i></span>before</li>'
    '<li><span class="dot track" style="background:none"><i class="is"></i></span>cloaked</li>'
    '<li><span class="track"><u></u></span>left of the line: as strangers; right of it: as the person. The line is the '
    f"most similar of {GALLERY} strangers.</li></ul>"
)
_PHOTO_SIDE_LIMIT = 1280
_FACE_SIDE = 520
_CROP_MARGIN = 0.35
# What of the scale is shown: from a little less alike than strangers to a little more than a typical photo of oneself.
_SCALE_FROM, _SCALE_TO = -0.35, 1.35


def style() -> str:
    """What a page of cards needs in its <style>."""
    return "".join(files("facecloak_studio").joinpath(name).read_text("utf-8") for name in ("page.css", "card.css"))


def script() -> str:
    """What it needs in its <script>; then ``wireCards(element)`` makes the cards beneath an element work."""
    return files("facecloak_studio").joinpath("card.js").read_text("utf-8")


def photo_card(item: Comparison, found: Sequence[MatchVerdict], *, remark: str = "") -> str:
    """The card. Everything that came with the photo is escaped; pictures are within it as data.

    Args:
        remark: one sentence more for a reader; may be empty.
    """
    box = item.original.face.box if item.original.face else Box(0, 0, 1, 1)
    original, cloaked = around(item.original.srgb_u8, box), around(item.cloaked.srgb_u8, box)
    views = (
        ("face", "Face", _slider(enlarged(original), enlarged(cloaked)), _face_caption(original)),
        ("photo", "Whole photo", _slider(_fit(item.original.srgb_u8), _fit(item.cloaked.srgb_u8)), "Drag to compare."),
        ("difference", "Difference", f'<div class="flat"><img alt="difference" '
         f'src="{_png_uri(enlarged(amplified(original, cloaked)))}"></div>',
         f"What changed, {AMPLIFICATION} times as large; gray is no change."),
    )  # fmt: skip
    buttons = "".join(f'<button type="button" data-view="{name}">{label}</button>' for name, label, _, _ in views)
    figures = "".join(
        f'<figure class="view {name}" data-view="{name}">{picture}<figcaption>{escape(caption)}</figcaption></figure>'
        for name, _, picture, caption in views
    )
    rows = "".join(_row(verdict) for verdict in found)
    extra = f"<p>{escape(remark)}</p>" if remark else ""
    return (
        f'<article class="card"><h3>{escape(item.name)}</h3><p class="verdict {tone(found)}">{escape(headline(found))}'
        f'</p>{extra}<div class="side"><div><div class="views" role="group" aria-label="what to show">{buttons}</div>'
        f'{figures}</div><div><div class="scale">{rows}</div><p class="facts">{escape(_facts(item))}</p></div></div>'
        "</article>"
    )


def amplified(before_u8: np.ndarray, after_u8: np.ndarray) -> np.ndarray:
    """The difference times AMPLIFICATION around middle gray; uint8 like the inputs."""
    difference = after_u8.astype(np.int16) - before_u8.astype(np.int16)
    return np.clip(128 + AMPLIFICATION * difference, 0, 255).astype(np.uint8)


def around(srgb_u8: np.ndarray, box: Box) -> np.ndarray:
    """The face and some of what is about it."""
    height, width = srgb_u8.shape[:2]
    x, y = _CROP_MARGIN * box.width, _CROP_MARGIN * box.height
    left, top = max(0, round(box.x - x)), max(0, round(box.y - y))
    return srgb_u8[top : min(height, round(box.y + box.height + y)), left : min(width, round(box.x + box.width + x))]


def enlarged(srgb_u8: np.ndarray) -> np.ndarray:
    """A small face enlarged, so that its pixels can be seen; a large one in its own pixels."""
    scale = _FACE_SIDE / max(srgb_u8.shape[:2])
    return srgb_u8 if scale <= 1 else cv2.resize(srgb_u8, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def jpeg_uri(srgb_u8: np.ndarray, *, quality: int = 92) -> str:
    """A picture within the page."""
    return _uri(".jpg", "jpeg", srgb_u8, [cv2.IMWRITE_JPEG_QUALITY, quality])


def visible_words(seen: Visibility) -> str:
    """What people see of the change first; JOD where it was measured."""
    jod = "" if seen.jod is None else f"JOD {seen.jod:.2f}, "
    return (
        f"{jod}SSIMULACRA2 {seen.ssimulacra2:.0f}, FLIP {seen.flip_99:.3f}, SSIM {seen.ssim:.3f}, "
        f"PSNR {seen.psnr_db:.1f} dB"
    )


def _slider(before: np.ndarray, after: np.ndarray) -> str:
    height, width = before.shape[:2]
    return (
        f'<div class="stack"><img alt="before" width="{width}" height="{height}" src="{jpeg_uri(before)}">'
        f'<img class="after" alt="cloaked" src="{jpeg_uri(after)}">'
        '<span class="side-label left">before</span><span class="side-label right">cloaked</span>'
        '<input type="range" min="0" max="100" step="0.5" value="50" aria-label="how much of the original to show">'
        "</div>"
    )


def _row(verdict: MatchVerdict) -> str:
    tag = ' <span class="tag">never seen</span>' if verdict.unseen else ""
    gone = verdict.matched_before and not verdict.matches
    kind = "still" if verdict.matches else "gone" if gone else ""
    after = "" if verdict.after is None else f'<i class="is" style="left:{_percent(verdict, verdict.after)}"></i>'
    now = "no face" if verdict.after is None else f"{verdict.after:.2f}"
    title = f"cosine {verdict.before:.2f} before, {now} cloaked; nearest of {GALLERY} strangers {verdict.line:.2f}"
    return (
        f'<div class="row" title="{title}"><span class="who">{escape(verdict.recognizer)}{tag}</span>'
        f'<span class="said {kind}">{escape(verdict.words)}</span>'
        f'<span class="track" style="--line-at:{_percent(verdict, verdict.line)}"><u></u>'
        f'<i class="was" style="left:{_percent(verdict, verdict.before)}"></i>{after}</span></div>'
    )


def _percent(verdict: MatchVerdict, cosine: float) -> str:
    # The enrolled photo itself is more alike than any other: then the scale reaches further, and shows what changed.
    end = max(_SCALE_TO, verdict.place(verdict.before))
    share = (verdict.place(cosine) - _SCALE_FROM) / (end - _SCALE_FROM)
    return f"{100 * min(max(share, 0.02), 0.98):.1f}%"


def _face_caption(crop: np.ndarray) -> str:
    height, width = crop.shape[:2]
    factor = _FACE_SIDE / max(height, width)
    return f"The face, {factor:.1f} times as large. Drag to compare." if factor > 1 else "The face. Drag to compare."


def _facts(item: Comparison) -> str:
    height, width = item.original.srgb_u8.shape[:2]
    return (
        f"{width} x {height} pixels, {item.bytes_before // 1024} → {item.bytes_after // 1024} KiB. On the face, "
        "against the original pixel by pixel, where an edge that moved a little counts in full: "
        f"{visible_words(item.visible)}; largest change {item.visible.largest_change_levels} of 255 levels."
    )


def _fit(srgb_u8: np.ndarray) -> np.ndarray:
    scale = _PHOTO_SIDE_LIMIT / max(srgb_u8.shape[:2])
    return srgb_u8 if scale >= 1 else cv2.resize(srgb_u8, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _png_uri(srgb_u8: np.ndarray) -> str:
    return _uri(".png", "png", srgb_u8, [])


def _uri(suffix: str, kind: str, srgb_u8: np.ndarray, options: list[int]) -> str:
    encoded = cv2.imencode(suffix, cv2.cvtColor(srgb_u8, cv2.COLOR_RGB2BGR), options)[1]
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"
