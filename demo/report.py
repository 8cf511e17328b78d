"""The demo's report: one HTML file that holds its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from demo.measure import mean_of
from facecloak import __version__
from facecloak.v1 import enroll_pb2
from facecloak_studio.card import LEGEND, around, jpeg_uri, photo_card, script, style
from facecloak_studio.comparison import Comparison, Reading
from facecloak_studio.verdict import MatchVerdict, headline, line_of, tone, verdicts


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
        style=style(),
        script=script(),
        legend=LEGEND,
        summary=_summary(findings),
        table=_table(findings),
        photos="".join(photo_card(item, _verdicts(findings, item)) for item in findings.comparisons),
        enrolled=jpeg_uri(_portrait(findings.enrolled)),
        recognizers=_count(len(findings.recognizers), "recognizer"),
        cloaked=_count(len(findings.comparisons), "photo"),
        enrolled_name=escape(findings.enrolled_name),
        enrollment=_enrollment(findings),
    )
    path.write_text(page, encoding="utf-8")


def _verdicts(findings: Findings, item: Comparison) -> list[MatchVerdict]:
    return verdicts(item, unseen=[findings.unseen], strangers=findings.strangers)


def _summary(findings: Findings) -> str:
    """Every photo's verdict in a line."""
    lines = []
    for item in findings.comparisons:
        found = _verdicts(findings, item)
        lines.append(f'<p class="verdict {tone(found)}"><b>{escape(item.name)}</b>: {escape(headline(found))}</p>')
    return "".join(lines)


def _count(number: int, what: str) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    said = words[number] if number < len(words) else str(number)
    return f"{said} {what}{'' if number == 1 else 's'}"


def _portrait(reading: Reading) -> np.ndarray:
    return around(reading.srgb_u8, reading.face.box) if reading.face else reading.srgb_u8


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
            f"<td>{_number(before)}</td><td>{_judged(after, line_of(name, others))}</td>"
            f"<td>{line_of(name, others):.2f}</td><td>{', '.join(_number(value) for value in others)}</td></tr>"
        )
    head = (
        f'<tr><th>recognizer</th><th class="left">role</th><th>before '
        f"(mean of {len(findings.comparisons)})</th><th>cloaked</th><th>the line</th><th>other people here</th></tr>"
    )
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _enrollment(findings: Findings) -> str:
    report = findings.enrollment.report
    measured = ", ".join(f"{escape(s.recognizer)} {s.before:.2f} → {s.after:.2f}" for s in report.similarities)
    return (
        f"Took {findings.enroll_seconds:.0f} s. On variations of the enrolled photo itself, which the mask was learned "
        f"from and which therefore flatter it, the service measured {measured or 'nothing'}; SSIM {report.ssim:.3f}."
    )


def _judged(after: float | None, line: float) -> str:
    if after is None:
        return "no face found"
    return f'<span class="{"good" if after <= line else "bad"}">{after:.2f}</span>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
