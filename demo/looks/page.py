"""The page: every photo before and after at full size, beside each other, under a slider or by turns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import cv2

from demo.looks.looking import MeasuredLook
from facecloak import __version__
from facecloak_evaluation.delivered_photo import decode
from facecloak_evaluation.visibility import Visibility
from facecloak_studio.card import AMPLIFICATION, amplified

_MEASURES = (("JOD", "jod", 2), ("SSIMULACRA2", "ssimulacra2", 0), ("FLIP", "flip_99", 3), ("SSIM", "ssim", 3))


@dataclass(frozen=True)
class LookedAt:
    """One photo at all strengths.

    Attributes:
        title, remark: for a viewer.
        name: of the photo's file; what is written is named after it.
        original: the file before.
        looks: strength -> what came back; an error's text where the person could not be enrolled.
    """

    title: str
    remark: str
    name: str
    original: bytes
    looks: Mapping[str, MeasuredLook | str]


def write_page(items: Sequence[LookedAt], folder: Path, *, remarks: Sequence[str]) -> Path:
    """Writes index.html and the pictures that it shows; returns the page's path."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.iterdir():
        old.unlink()
    body = "".join(_section(item, pictures) for item in items)
    page = Template(files("demo.looks").joinpath("page.html").read_text(encoding="utf-8")).substitute(
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=escape(__version__),
        remarks="".join(f'<p class="remark">{escape(text)}</p>' for text in remarks if text),
        body=body,
        amplification=AMPLIFICATION,
    )
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _section(item: LookedAt, pictures: Path) -> str:
    stem, suffix = Path(item.name).stem, Path(item.name).suffix
    original = decode(item.original)
    before = pictures / item.name
    before.write_bytes(item.original)
    shown = {}
    for strength, look in item.looks.items():
        if isinstance(look, str) or look.outcome != "CLOAKED":
            continue
        after, difference = pictures / f"{stem}-{strength}{suffix}", pictures / f"{stem}-{strength}-difference.png"
        after.write_bytes(look.photo)
        changed = amplified(original, decode(look.photo))
        cv2.imwrite(str(difference), cv2.cvtColor(changed, cv2.COLOR_RGB2BGR))
        shown[strength] = {"after": f"pictures/{after.name}", "difference": f"pictures/{difference.name}"}
    height, width = original.shape[:2]
    files_of = escape(json.dumps(shown), quote=True)
    buttons = "".join(f'<button data-strength="{escape(name)}">{escape(name)}</button>' for name in shown)
    return (
        f'<section data-pictures="{files_of}"><h2>{escape(item.title)}</h2>'
        f"<p>{width} x {height} px. {escape(item.remark)}</p><p class=strengths>{buttons}</p>"
        f'<div class=view style="--width:{width}px;--height:{height}px">'
        f'<div class=stack><img class=before alt="before" src="pictures/{escape(before.name)}">'
        '<img class=after alt="after"></div><img class=after alt="after"><img class=difference alt="difference">'
        f"<input class=slider type=range min=0 max=100 value=50 aria-label='how much of the original'></div>"
        f"{_table(item.looks)}</section>"
    )


def _table(looks: Mapping[str, MeasuredLook | str]) -> str:
    recognizers = list(dict.fromkeys(
        name for look in looks.values() if not isinstance(look, str) for name in look.similarities
    ))  # fmt: skip
    head = ["strength", *(f"{label}, delivered" for label, _, _ in _MEASURES),
            *(f"{label}, painted" for label, _, _ in _MEASURES[:3]), "moved: rms, largest (% of the eyes' distance)",
            *recognizers]  # fmt: skip
    rows = "".join(_row(strength, look, recognizers) for strength, look in looks.items())
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f'<div class="scroll"><table><tr>{cells}</tr>{rows}</table></div>'


def _row(strength: str, look: MeasuredLook | str, recognizers: Sequence[str]) -> str:
    if isinstance(look, str) or look.outcome != "CLOAKED":
        said = look if isinstance(look, str) else look.outcome
        width = 2 * len(_MEASURES) + len(recognizers)
        return f"<tr><td>{escape(strength)}</td><td class=left colspan={width}>{escape(said)}</td></tr>"
    size = look.displacement
    moved = "nothing" if size is None else f"{size.rms_percent:.1f}, {size.largest_percent:.1f}"
    cells = [strength, *_figures(look.seen), *_figures(look.painted)[:3], moved]
    for name in recognizers:
        before, after = look.similarities.get(name, (None, None))
        cells.append("-" if before is None else f"{before:.2f} → {'no face' if after is None else f'{after:.2f}'}")
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _figures(seen: Visibility | None) -> list[str]:
    values = [(getattr(seen, name, None), digits) for _, name, digits in _MEASURES]
    return ["-" if value is None else f"{value:.{digits}f}" for value, digits in values]
