"""`python -m benchmarks`: measures everything, or what is named, and writes out/bench/NAME.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

NAMES = (
    "apply", "enrollment", "gradients", "message_load", "overload", "placement", "splice", "serving", "triton",
    "worst_case",
)  # fmt: skip


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--repository", type=click.Path(exists=True, file_okay=False, path_type=Path),
              default=Path("model_repository"), show_default=True, envvar="FACECLOAK_MODEL_REPOSITORY")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("out/bench"), show_default=True)
@click.option("--runs", default=15, show_default=True, type=click.IntRange(2), help="Of each way to cloak a photo.")
@click.option("--enrollments", default=2, show_default=True, type=click.IntRange(1))
def main(*, names: tuple[str, ...], repository: Path, out: Path, runs: int, enrollments: int) -> None:
    """Measure NAMES (all if none is given)."""
    from benchmarks import (
        apply,
        enrollment,
        gradients,
        message_load,
        overload,
        placement,
        serving,
        splice,
        triton,
        worst_case,
    )
    from facecloak_evaluation.ledger import MEASURING_PACKAGES, provenance, write_json

    for name in names or NAMES:
        click.echo(f"measuring {name}", err=True)
        if name == "apply":
            result: dict[str, Any] = apply.measure(repository, runs=runs)
        elif name == "gradients":
            result = gradients.measure(repository, runs=max(3, runs // 2))
        elif name == "triton":
            result = triton.measure(repository, runs=runs)
        elif name == "placement":
            result = placement.measure(repository, runs=4 * runs)
        elif name == "splice":
            result = splice.measure(repository, runs=runs)
        elif name == "message_load":
            result = message_load.measure(repository)
        elif name == "overload":
            result = overload.measure(repository)
        elif name == "worst_case":
            result = worst_case.measure(repository)
        elif name == "serving":
            result = serving.measure(repository, runs=runs)
        else:
            result = enrollment.measure(repository, runs=enrollments)
        packages = (*MEASURING_PACKAGES, "simplejpeg", "pydantic")
        write_json(out / f"{name}.json", {"schema": f"facecloak-bench-{name}/1", **provenance(packages), **result})
        for line in _lines(name, result):
            click.echo(line)


def _lines(name: str, result: dict[str, Any]) -> list[str]:
    if name == "enrollment":
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in result["share_by_stage"].items())
        return [f"enrollment: {result['seconds_median']} s ({shares})"]
    if name == "gradients":
        return [
            f"{row['recognizer']:<12} N={row['batch']:<3} {row['ratio']:.2f} of torch" for row in result["gradients"]
        ]
    if name == "triton":
        calls = [
            f"{row['recognizer']:<12} {row['ratio_shared_memory']:.2f} of in process by shared memory, "
            f"{row['ratio_grpc']:.2f} by gRPC"
            for row in result["calls"]
        ]
        return calls + [
            f"{run['at_once']} enrollments at once: {run['over_one_after_the_other']:.2f} of one after the other"
            for run in result["enrollments"]["runs"]
        ]
    if name == "placement":
        return [
            f"{size['square_side_px']} px  {what:<24} {timing['median_ms']:8.2f} ms"
            for size in result["sizes"]
            for what, timing in size["timings"].items()
        ]
    if name == "splice":
        return [
            f"{photo['width']}x{photo['height']} {photo['photo']} q{photo['quality']}: "
            f"{photo['timings']['splice']['median_ms']:.2f} of {photo['timings']['full']['median_ms']:.2f} ms, "
            f"ratio {photo['ratio']}"
            for photo in result["photos"]
        ]
    if name == "worst_case":
        return [
            f"{row['cpu_seconds']:8.2f} s {row['peak_mebibytes']:6} MiB  {row['outcome']:<20} {row['file']}"
            for row in result["worst_case"]
        ]
    if name in ("serving", "message_load", "overload"):
        return [json.dumps(result)]
    return [
        f"{size['width']}x{size['height']}  {what:<24} {timing['median_ms']:8.2f} ms"
        for size in result["sizes"]
        for what, timing in size["timings"].items()
    ]


if __name__ == "__main__":
    main()
