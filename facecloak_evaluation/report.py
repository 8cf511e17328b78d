"""A measurement for people: a short markdown table, and one HTML file that needs nothing beside it.

The figures are the ledger's. Pictures are in a page only where the caller hands examples over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from facecloak_evaluation.pictures import examples_html, strength_curve_svg
from facecloak_evaluation.protocol import Pairing

if TYPE_CHECKING:
    from facecloak_evaluation.experiment import Example

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
table{border-collapse:collapse;margin:1rem 0;width:100%}
th,td{text-align:right;padding:.35rem .6rem;border-bottom:1px solid #d8dee6}
th:first-child,td:first-child{text-align:left}
th{font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}
dt{color:#5b6675}dd{margin:0;overflow-wrap:anywhere}
figure{margin:1rem 0}figure img{margin-right:4px;image-rendering:pixelated}
figcaption,.axis{font-size:.85em;fill:currentColor}
.note{color:#5b6675}.range{color:#5b6675;font-size:.85em;white-space:nowrap}svg{vertical-align:middle}
@media(prefers-color-scheme:dark){body{color:#e6eaf0;background:#14181f}th,td{border-color:#333b47}
dt,.note,.range{color:#9aa5b4}}
"""


# Name in the ledger, for a reader, digits, and on which side of its bound 95 % of photos lie.
_SEEN = (("jod", "JOD", 2, "more"), ("ssimulacra2", "SSIMULACRA2", 0, "more"), ("flip_99", "FLIP", 3, "less"))


def share_with_range(figure: Mapping[str, float]) -> str:
    """``0.42 [0.31, 0.55]``."""
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def as_markdown(document: Mapping[str, Any]) -> str:
    """One row an evaluator and platform, then the mean: what a terminal shows."""
    rank = document["protocol"]["ranks"][0]
    lines = [
        f"| evaluator (never a surrogate) | platform | control | PSR@{rank} | gain | both cloaked | cosine to own |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in _rows(document, rank):
        lines.append("| " + " | ".join(row) + " |")
    headline = document["headline"]
    lines += ["", _visibility_sentence(headline), *people_see_sentences(headline), *trial_sentences(document)]
    lines.append(_refused_sentence(headline))
    return "\n".join(line for line in lines if line or line == "").strip() + "\n"


def as_html(document: Mapping[str, Any], *, examples: Sequence[Example] = ()) -> str:
    """A self-contained page; every text out of the document is escaped.

    Args:
        examples: shown as pictures; a page with any is not for committing.
    """
    headline, protocol, data = document["headline"], document["protocol"], document["data"]
    first_rank = protocol["ranks"][0]
    git = document.get("git") or {}
    facts = {
        "Measured": document["date"],
        "Code": git.get("commit", "unknown") + (" and uncommitted changes" if git.get("changed") else ""),
        "Machine": ", ".join(f"{name} {value}" for name, value in document["machine"].items() if value is not None),
        "People": f"{len(data['people'])} ({data['selection']}), gallery of {data['gallery_photos']} photos",
        "Platforms": "; ".join(f"{name}: {what}" for name, what in protocol["platforms"].items()),
        "Masks a user": masks_a_user(document),
        "Faces found by": document["evaluation_finder"]["identity"],
        "Structural similarity": document["ssim"],
        **{f"Visibility, {name}": what for name, what in (document.get("visibility_measures") or {}).items()},
        "Repeat with": document["repeat"],
    }
    body = [
        f"<h1>Protection, PSR@{int(first_rank)}: {escape(share_with_range(headline['psr']))}</h1>",
        f"<p>{_bar(headline['control'], headline['psr'])}</p>",
        f"<p>Uncloaked photos are missed in {escape(share_with_range(headline['control']))} of the cases; the cloak "
        f"adds {escape(share_with_range(headline['gain']))}. In brackets: 95 % bootstrap interval over people.</p>",
        f"<p>{escape(_visibility_sentence(headline))}</p>",
    ]
    for sentence in (*people_see_sentences(headline), *trial_sentences(document), _refused_sentence(headline)):
        body.append(f"<p>{escape(sentence)}</p>" if sentence else "")
    if curve := (document.get("trials") or {}).get("strengths"):
        baseline = (document.get("comparison") or {}).get("headline")
        body.append("<h2>Protection against visibility</h2>")
        body.append(strength_curve_svg(curve, rank=int(first_rank), baseline=baseline))
    if examples:
        body.append(examples_html(examples))
    for rank in protocol["ranks"]:
        body.append(_table(document, int(rank)))
    body.append(_extraction_table(document, int(first_rank)))
    body.append(_visibility_table(document))
    body.append("<h2>Each person</h2>" + _people_table(document))
    body.append("<h2>Conditions</h2><dl>")
    body += [f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items()]
    body.append(
        "</dl><p class=note>A measurement says how these masks did against these recognizers at that time. It promises "
        "nothing about others, least of all about recognizers trained on cloaked photos.</p>"
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>FaceCloak: measured protection</title><style>{_STYLE}</style>{''.join(body)}</html>\n"
    )


def _photos(count: str) -> str:
    return "1 photo" if count == "1" else f"{count} photos"


def masks_a_user(document: Mapping[str, Any]) -> int:
    """How many masks each person had; results of before November 2026 have the number elsewhere."""
    settings = document["rounds"][0]["service"].get("settings") or {}
    return int(settings.get("masks", settings.get("bank", {}).get("masks", 1)))


def _rows(document: Mapping[str, Any], rank: int) -> list[list[str]]:
    rows = []
    for round_ in document["rounds"]:
        for result in (*round_["results"], *round_.get("results_by_surrogates", ())):
            similarity = result["similarity_to_own_gallery"]
            cosine = f"{similarity['clean']:.2f} > {similarity['cloaked']:.2f}"
            rows.append([_role(result, round_), result["platform"], *_figures(result, rank), cosine])
    for platform, mean in document["mean"].items():
        rows.append(["mean", platform, *_figures(mean, rank), ""])
    for platform, mean in (document.get("comparison") or {"mean": {}})["mean"].items():
        rows.append(["published algorithm, mean", platform, *_figures(mean, rank), ""])
    return rows


def _role(result: Mapping[str, Any], round_: Mapping[str, Any]) -> str:
    """The evaluator's name, and whether the masks were learned against it."""
    is_surrogate = result["evaluator"] in {identity["name"] for identity in round_["surrogates"]}
    return f"{result['evaluator']} (a surrogate)" if is_surrogate else result["evaluator"]


def _figures(result: Mapping[str, Any], rank: int) -> list[str]:
    pairings = result["pairings"]
    return [
        share_with_range(result["control"][f"psr_at_{rank}"]),
        share_with_range(pairings[str(Pairing.CLOAKED_PROBE)][f"psr_at_{rank}"]),
        share_with_range(pairings[str(Pairing.CLOAKED_PROBE)][f"gain_at_{rank}"]),
        share_with_range(pairings[str(Pairing.BOTH_CLOAKED)][f"psr_at_{rank}"]),
    ]


def _extraction_table(document: Mapping[str, Any], rank: int) -> str:
    trials = document.get("trials") or {}
    attackers, purified = trials.get("extraction") or {}, trials.get("purified") or {}
    table = _purification_table(purified, rank)
    if not attackers:
        return table
    counts = list(next(iter(attackers.values())))
    head = "".join(f"<th>{escape(_photos(count))}</th>" for count in counts)
    rows = ""
    for attacker, figures in attackers.items():
        cells = "".join(f"<td>{escape(_removed(figures[count], rank))}</td>" for count in counts)
        rows += f"<tr><td>{escape(attacker)}</td>{cells}</tr>"
    return (
        f"<h2>Taking the mask off</h2><table><tr><th>attacker</th>{head}</tr>{rows}</table>"
        f"<p class=note>PSR@{rank} above uncloaked photos that is left, and the share that the attack removed. Blind: "
        "cloaked photos only. Pairs: the same photos uncloaked, too; their mean difference is subtracted. Sorted "
        "pairs: also knows that there are several masks and tells them apart. Displacement undone: the field that "
        "moves all pairs is estimated and inverted, and what is left in common subtracted, if the row says so.</p>"
        + table
    )


def _purification_table(purified: Mapping[str, Any], rank: int) -> str:
    if not purified:
        return ""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(_removed(figures, rank))}</td></tr>"
        for name, figures in purified.items()
    )
    return (
        f"<h2>Purification</h2><table><tr><th>what was done</th><th>left</th></tr>{rows}</table>"
        f"<p class=note>PSR@{rank} above uncloaked photos that went the same way, and the share that is gone.</p>"
    )


def _removed(figures: Mapping[str, Any], rank: int) -> str:
    removed = figures[f"removed_at_{rank}"]
    return f"{figures[f'gain_at_{rank}']:.2f}" + ("" if removed is None else f" ({removed:.0%} removed)")


def _worst_platform_sentence(document: Mapping[str, Any]) -> str:
    worst = document["headline"].get("worst_platform")
    if not worst or len(document["protocol"]["platforms"]) < 2:
        return ""
    share = "" if worst["share_of_first"] is None else f", {worst['share_of_first']:.0%} of that after the first"
    return f"After the worst platform, {worst['platform']}, the cloak adds {share_with_range(worst['gain'])}{share}."


def trial_sentences(document: Mapping[str, Any]) -> list[str]:
    """What was measured beyond the table: the worst platform, other strengths, attacks, the other method."""
    rank, trials = document["protocol"]["ranks"][0], document.get("trials") or {}
    sentences = [_worst_platform_sentence(document)]
    if scaled := [entry for entry in trials.get("strengths") or () if entry["strength"] != 1 and entry["ssim_face"]]:
        told = ", ".join(
            f"{entry[f'gain_at_{rank}']:.2f} at SSIM {entry['ssim_face']:.3f}{_jod_words(entry)} "
            f"({entry['strength']:g} x)"
            for entry in scaled
        )
        sentences.append(f"The same masks with every level scaled add {told}.")
    if both := document["headline"].get("both_cloaked_gain"):
        sentences.append(f"Cloaked photos against cloaked photos of the same person: {share_with_range(both)}.")
    for attacker, figures in (trials.get("extraction") or {}).items():
        told = ", ".join(f"{_photos(count)} {_removed(entry, rank)}" for count, entry in figures.items())
        if told:
            sentences.append(f"Extraction, {attacker}: the cloak still adds {told}.")
    if purified := trials.get("purified"):
        told = ", ".join(f"{name} {_removed(entry, rank)}" for name, entry in purified.items())
        sentences.append(f"Purified, above uncloaked photos that went the same way: {told}.")
    again = trials.get("reapplied")
    if again and again["ssim_face"] is not None:
        sentences.append(
            f"Cloaked twice: the cloak adds {again[f'gain_at_{rank}']:.2f}, SSIM {again['ssim_face']:.3f}."
        )
    if compared := (document.get("comparison") or {}).get("headline"):
        sentences.append(
            f"The published algorithm on the same photos and evaluators: {share_with_range(compared['gain'])} at SSIM "
            f"{compared['ssim_face']:.3f}."
        )
    return sentences


def _jod_words(entry: Mapping[str, Any]) -> str:
    jod = (entry.get("face") or {}).get("jod_mean")
    return "" if jod is None else f" and JOD {jod:.2f}"


def _table(document: Mapping[str, Any], rank: int) -> str:
    head = ("evaluator", "platform", "uncloaked", f"PSR@{rank}", "gain", "both cloaked", "cosine to own")
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(document, rank)
    )
    return f"<h2>PSR@{rank}</h2><table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{rows}</table>"


def _visibility_table(document: Mapping[str, Any]) -> str:
    rows = []
    for round_ in document["rounds"]:
        evaluators = ", ".join(identity["name"] for identity in round_["evaluators"])
        for place, values in round_["visibility"].items():
            if not isinstance(values, Mapping):
                continue
            cells = (evaluators, place, f"{values['ssim_mean']:.3f}", f"{values['ssim_lowest']:.3f}",
                     f"{values['psnr_db_mean']:.1f}", str(values["largest_change_levels"]),
                     f"{values['chroma_share_mean']:.2f}",
                     *(_seen_cell(values, name, digits) for name, _, digits, _ in _SEEN))  # fmt: skip
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    head = ("masks evaluated by", "where", "SSIM, mean", "lowest", "PSNR dB", "largest change, levels",
            "share in color", *(label for _, label, _, _ in _SEEN))  # fmt: skip
    return (
        f"<h2>Visibility</h2><table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{''.join(rows)}</table>"
        "<p class=note>JOD, SSIMULACRA2 and FLIP: the mean, and in brackets what 95 % of the photos reach. JOD: 10 is "
        "no difference, at 9 one person of four still prefers the changed picture. SSIMULACRA2: 90 is no visible "
        "difference, 70 is not noticed without the original. FLIP: one pixel of a hundred differs more.</p>"
    )


def _seen_cell(values: Mapping[str, float], name: str, digits: int) -> str:
    if f"{name}_mean" not in values:
        return "-"
    return f"{values[f'{name}_mean']:.{digits}f} ({values[f'{name}_of_95_percent']:.{digits}f})"


def _people_table(document: Mapping[str, Any]) -> str:
    columns = [result for round_ in document["rounds"] for result in round_["results"]]
    head = "".join(f"<th>{escape(result['evaluator'])}<br>{escape(result['platform'])}</th>" for result in columns)
    rows = []
    for name in document["data"]["people"]:
        cells = []
        for result in columns:
            counts = result["people"].get(name, {"probes": 0})
            cells.append(f"{int(counts['protected'])} of {int(counts['probes'])}" if counts["probes"] else "-")
        rows.append(f"<tr><td>{escape(name)}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><tr><th>protected probes</th>{head}</tr>{''.join(rows)}</table>"


def _bar(control: Mapping[str, float], cloaked: Mapping[str, float]) -> str:
    """0..1 as 600 px: uncloaked gray, cloaked blue, its interval as a line."""
    width = 600

    def x(share: float) -> float:
        return round(min(max(float(share), 0.0), 1.0) * width, 1)

    return (
        f"<svg width={width} height=44 viewBox='0 0 {width} 44' role=img aria-label='share of probes not matched'>"
        f"<rect width={width} height=44 fill='#8883'/><rect y=4 width={x(control['value'])} height=14 fill='#8a94a3'/>"
        f"<rect y=24 width={x(cloaked['value'])} height=14 fill='#2f6fde'/>"
        f"<path d='M{x(cloaked['low'])} 31H{x(cloaked['high'])}' stroke='#f0a020' stroke-width=3 /></svg>"
    )


def _visibility_sentence(headline: Mapping[str, Any]) -> str:
    if headline["ssim_face"] is None:
        return "No photo was cloaked, so there is no visibility to tell."
    return (
        f"SSIM of the face as delivered {headline['ssim_face']:.3f}, on the aligned 112 crop "
        f"{headline['ssim_crop112']:.3f}; one enrollment {headline['enrollment_seconds_median']} s on one core."
    )


def people_see_sentences(headline: Mapping[str, Any]) -> list[str]:
    """How much of the cloak shows by measures that follow people's eyes, and how far it displaces; results from before
    these were measured have none."""
    told = []
    for what, key in (("The face as delivered", "face"), ("What was painted, without what was displaced", "painted")):
        if words := _seen_words(headline.get(key) or {}):
            told.append(f"{what}: {words}.")
    if moved := headline.get("displacement"):
        told.append(
            f"Displacement, in percent of the distance between the eyes: root mean square {moved['rms_percent']:.1f}, "
            f"largest {moved['largest_percent']:.1f}, asymmetric part {moved['asymmetry_percent']:.1f}."
        )
    return told


def _seen_words(seen: Mapping[str, float]) -> str:
    """``JOD 9.01 (8.62 or more on 95 % of photos), SSIMULACRA2 75 (...), FLIP ...``; empty where nothing is known."""
    words = []
    for name, label, digits, side in _SEEN:
        if f"{name}_mean" in seen:
            mean, most = seen[f"{name}_mean"], seen[f"{name}_of_95_percent"]
            words.append(f"{label} {mean:.{digits}f} ({most:.{digits}f} or {side} on 95 % of photos)")
    return ", ".join(words)


def _refused_sentence(headline: Mapping[str, Any]) -> str:
    refused = headline["people_refused"]
    return f"Enrollment refused the photo of {len(refused)}: they are in no figure." if refused else ""
