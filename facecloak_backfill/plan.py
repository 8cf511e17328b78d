"""What a large run takes: `python -m facecloak_backfill.plan --photos 1e9 --report report.json`.

The cost of a photo is what a small run measured; prices are inputs, and those given here are only to begin with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

_DAY_S = 86_400


@dataclass(frozen=True)
class PlanInputs:
    """What the formula takes; each can be given on the command line."""

    photos: float = 1e9
    """Photos of the archive."""
    cpu_ms: float = 100.0
    """Processor time a photo, ms, on a core of the machines to be used."""
    bytes_read: float = 3e6
    """Size of a photo, bytes."""
    bytes_written: float = 3e6
    """Size of a cloaked photo, bytes: about the same."""
    gets: float = 1.0
    """GET requests a photo."""
    puts: float = 1.0
    """PUT requests a photo."""
    masks: float = 0.1
    """Requests of the mask store a photo: about two a user and process where a user's photos follow each other."""
    days: float = 7.0
    """In how many days it is to be done."""
    efficiency: float = 0.7
    """Share of a core's time that is work: the rest is waiting for the store, starts and stragglers."""
    core_hour_price: float = 0.02
    """Money for one core for one hour."""
    get_price_per_million: float = 0.4
    """Money for a million GETs."""
    put_price_per_million: float = 5.0
    """Money for a million PUTs and LISTs."""
    storage_price_per_gb_month: float = 0.023
    """Money for a gigabyte stored for a month: the archive is there twice until the originals are gone."""
    retried: float = 0.01
    """Share of photos that are done again: machines that are taken away, kills."""


def plan(inputs: PlanInputs) -> dict[str, float]:
    """The figures, by name. The formulas are those of docs/scale.md."""
    photos = inputs.photos * (1 + inputs.retried)
    core_hours = photos * inputs.cpu_ms / 1000 / 3600 / inputs.efficiency
    cores = core_hours / (inputs.days * 24)
    gets, puts, masks = photos * inputs.gets, photos * inputs.puts, photos * inputs.masks
    a_second = photos / (inputs.days * _DAY_S)
    return {
        "core_hours": core_hours,
        "cores": cores,
        "photos_a_second": a_second,
        "read_gbit_a_second": a_second * inputs.bytes_read * 8 / 1e9,
        "written_gbit_a_second": a_second * inputs.bytes_written * 8 / 1e9,
        "get_requests": gets + masks,
        "put_requests": puts,
        "requests_a_second": (gets + puts + masks) / (inputs.days * _DAY_S),
        "money_cores": core_hours * inputs.core_hour_price,
        "money_requests": (gets + masks) / 1e6 * inputs.get_price_per_million
        + puts / 1e6 * inputs.put_price_per_million,
        "money_storage_a_month": inputs.photos * inputs.bytes_written / 1e9 * inputs.storage_price_per_gb_month,
    }


def measured(report: dict[str, Any]) -> dict[str, float]:
    """Inputs from a run's report (``DST/.facecloak/RUN/report-*.json``)."""
    cost = report["a_photo"]
    requests = cost["requests"]
    return {
        "cpu_ms": cost["cpu_ms"],
        "bytes_read": cost["bytes_read"],
        "bytes_written": cost["bytes_written"],
        "gets": requests.get("get", 0.0),
        "puts": requests.get("put", 0.0),
        "masks": requests.get("mask", 0.0),
    }


@click.command()
@click.option(
    "--report", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A run's report: its costs."
)
def main(*, report: Path | None, **given: float | None) -> None:
    """Print what a large run takes."""
    values: dict[str, float] = measured(json.loads(report.read_bytes())) if report else {}
    values |= {name: value for name, value in given.items() if value is not None}
    inputs = PlanInputs(**values)
    for field in fields(inputs):
        click.echo(f"{field.name:>28}  {getattr(inputs, field.name):,.6g}")
    click.echo()
    for name, value in plan(inputs).items():
        click.echo(f"{name:>28}  {value:,.0f}" if value >= 100 else f"{name:>28}  {value:,.3g}")


for _field in fields(PlanInputs):
    main.params.append(
        click.Option([f"--{_field.name.replace('_', '-')}"], type=float, help=f"Default {_field.default}.")
    )


if __name__ == "__main__":
    main()
