"""How protection rises with what shows, drawn from the committed results: `python -m tools.docs.protection_plot`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tools.docs.results_pages import displacing_results, photos_enrolled

PEOPLE = "people-21-40-"
"""Results of this name are of the same people, so that their strengths compare."""


def curves(directory: Path) -> dict[str, list[tuple[float, float, float, float, str]]]:
    """By curve, its points: JOD of what is painted, PSR@1 and its 95 % interval, and the strength; the most visible
    first."""
    told: dict[str, list[tuple[float, float, float, float, str]]] = {}
    for name, document in displacing_results(directory):
        if not name.startswith(PEOPLE):
            continue
        count = photos_enrolled(document)
        photos = "one photo" if count == 1 else f"{count} photos"
        headline = document["headline"]
        strength = document["rounds"][0]["service"]["settings"]["strength"]
        jod = headline["painted"]["jod_mean"]
        surrogate = headline.get("by_surrogates")
        shares: dict[str, Mapping[str, Any] | None] = {
            "FaceNet, never seen": headline["psr"],
            "the surrogate that resists most": surrogate and surrogate["psr_at_1"],
        }
        for who, share in shares.items():
            if share is not None:
                point = (jod, share["value"], share["low"], share["high"], strength)
                told.setdefault(f"{who}; {photos}", []).append(point)
    return {label: sorted(points) for label, points in sorted(told.items())}


@click.command()
@click.option("--results", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("docs/results"))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("docs/protection.png"))
def main(*, results: Path, out: Path) -> None:
    """Draw protection against visibility."""
    # Here, so that who only wants the curves needs no plotting library.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    told = curves(results)
    for label, points in told.items():
        jod, share, low, high, _ = map(list, zip(*points, strict=True))
        line = axes.plot(jod, share, "o-" if "one photo" in label else "s--", label=label)[0]
        axes.fill_between(jod, low, high, color=line.get_color(), alpha=0.08)
    for at, _, _, _, strength in next(points for label, points in told.items() if "one photo" in label):
        axes.annotate(strength, (at, 0.02), ha="center")
    axes.set_xlabel("what was painted, JOD (10: no difference), mean")
    axes.set_ylabel("PSR@1: share of cloaked photos that are no longer matched")
    axes.set_ylim(0, 1.02)
    axes.invert_xaxis()
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")
    figure.savefig(out, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
