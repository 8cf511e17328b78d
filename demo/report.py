"""The demo's report: one HTML file that holds its pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import cv2
import numpy as np

from demo.measure import Comparison, Reading, mean_of
from facecloak import __version__
from facecloak.faces import Box
from facecloak.v1 import enroll_pb2
from facecloak_evaluation.visibility import Visibility

AMPLIFICATION = 8
_PICTURE_SIDE_LIMIT = 720
_CROP_MARGIN = 0.35


@dataclass(frozen=True)
class Findings:
    """Everything the report tells.

    Attributes:
        unseen: the recognizer that enrollment did not use.
        strangers: for each photo of another person, recognizer -> similarity to the enrolled face.
        enroll_seconds: how long the EnrollUser call took.
        skipped: sentences about photos that could not be cloaked.
    """

    enrolled_name: str
    enrolled: Reading
    enrollment: enroll_pb2.Enrollment
    unseen: str
    comparisons: Sequence[Comparison]
    strangers: Sequence[Mapping[str, float]]
    enroll_seconds: float
    remark: str
    skipped: Sequence[str]

    @property
    def recognizers(self) -> list[str]:
        """The surrogates, then the recognizer that was never seen."""
        return [*self.enrollment.surrogates, self.unseen]


def write_report(findings: Findings, path: Path) -> None:
    """Writes the report; the file needs nothing beside it."""
    remarks = [text for text in (findings.remark, *findings.skipped, *findings.enrollment.report.warnings) if text]
    page = Template(files("demo").joinpath("report.html").read_text(encoding="utf-8")).substitute(
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=escape(__version__),
        remark="".join(f'<p class="remark">{escape(text)}</p>' for text in remarks),
        table=_table(findings),
        photos="".join(_photo(item, findings.unseen) for item in findings.comparisons),
        enrolled=_data_uri(_fit(findings.enrolled.srgb_u8)),
        enrolled_name=escape(findings.enrolled_name),
        enrollment=_enrollment(findings),
    )
    path.write_text(page, encoding="utf-8")


def _table(findings: Findings) -> str:
    rows = []
    for name in findings.recognizers:
        before = mean_of([item.before for item in findings.comparisons], name)
        after = mean_of([item.after for item in findings.comparisons], name)
        others = [row[name] for row in findings.strangers if name in row]
        seen = name != findings.unseen
        rows.append(
            f'<tr class="{"" if seen else "unseen"}"><td>{escape(name)}</td>'
            f'<td class="left"><span class="tag">{"surrogate" if seen else "never seen"}</span></td>'
            f"<td>{_number(before)}</td><td>{_judged(after, others)}</td>"
            f"<td>{', '.join(_number(value) for value in others)}</td></tr>"
        )
    head = (
        f'<tr><th>recognizer</th><th class="left">role</th><th>same person, before '
        f"(mean of {len(findings.comparisons)})</th><th>cloaked</th><th>other people</th></tr>"
    )
    return f"<table>{head}{''.join(rows)}</table>"


def _photo(item: Comparison, unseen: str) -> str:
    box = item.original.face.box if item.original.face else Box(0, 0, 1, 1)
    original, cloaked = _around(item.original.srgb_u8, box), _around(item.cloaked.srgb_u8, box)
    trio = "".join(
        f'<figure><img alt="{caption} of {escape(item.name)}" src="{_data_uri(_fit(pixels))}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for caption, pixels in (
            ("original", original),
            ("cloaked", cloaked),
            (f"difference x{AMPLIFICATION}, gray is none", amplified(original, cloaked)),
        )
    )
    figures = ", ".join(
        f"{escape(name)}{' (never seen)' if name == unseen else ''} {_number(item.before.get(name))} → "
        f"<b>{_number(item.after.get(name))}</b>"
        for name in sorted(item.before)
    )
    lost = "" if item.cloaked.face else " No face was found in the cloaked photo."
    height, width = item.original.srgb_u8.shape[:2]
    return (
        f"<h3>{escape(item.name)}</h3><div class='trio'>{trio}</div><p>{figures}.{lost}<br>{width} x {height} pixels, "
        f"{item.bytes_before // 1024} → {item.bytes_after // 1024} KiB; on the face {_visible_words(item.visible)}, "
        f"largest change {item.visible.largest_change_levels} of 255 levels.</p>"
    )


def _visible_words(seen: Visibility) -> str:
    """What people see of the change first; JOD where it was measured."""
    jod = "" if seen.jod is None else f"JOD {seen.jod:.2f}, "
    return (
        f"{jod}SSIMULACRA2 {seen.ssimulacra2:.0f}, FLIP {seen.flip_99:.3f}, SSIM {seen.ssim:.3f}, "
        f"PSNR {seen.psnr_db:.1f} dB"
    )


def _enrollment(findings: Findings) -> str:
    report = findings.enrollment.report
    measured = ", ".join(f"{escape(s.recognizer)} {s.before:.2f} → {s.after:.2f}" for s in report.similarities)
    return (
        f"Took {findings.enroll_seconds:.0f} s. On variations of the enrolled photo itself, which the mask was learned "
        f"from and which therefore flatter it, the service measured {measured or 'nothing'}; SSIM {report.ssim:.3f}."
    )


def amplified(before_u8: np.ndarray, after_u8: np.ndarray) -> np.ndarray:
    """The difference times AMPLIFICATION around middle gray; uint8 like the inputs."""
    difference = after_u8.astype(np.int16) - before_u8.astype(np.int16)
    return np.clip(128 + AMPLIFICATION * difference, 0, 255).astype(np.uint8)


def _around(srgb_u8: np.ndarray, box: Box) -> np.ndarray:
    height, width = srgb_u8.shape[:2]
    x, y = _CROP_MARGIN * box.width, _CROP_MARGIN * box.height
    left, top = max(0, round(box.x - x)), max(0, round(box.y - y))
    return srgb_u8[top : min(height, round(box.y + box.height + y)), left : min(width, round(box.x + box.width + x))]


def _fit(srgb_u8: np.ndarray) -> np.ndarray:
    scale = _PICTURE_SIDE_LIMIT / max(srgb_u8.shape[:2])
    if scale >= 1:
        return srgb_u8
    return cv2.resize(srgb_u8, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _data_uri(srgb_u8: np.ndarray) -> str:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(srgb_u8, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _judged(after: float | None, others: Sequence[float]) -> str:
    if after is None:
        return "no face found"
    return f'<span class="{"good" if others and after <= max(others) else "bad"}">{after:.2f}</span>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
