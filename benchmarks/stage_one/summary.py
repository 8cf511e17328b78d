"""From what became of each probe to shares, intervals and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks.stage_one.conditions import CEILING, FLOOR, UNSEEN_CEILING
from benchmarks.stage_one.measuring import NO_MASK
from facecloak_evaluation.metrics import CONFIDENCE, Tally, figure

YAW_BUCKETS = ((0.0, 8.0), (8.0, 16.0), (16.0, 90.0))
"""Degrees as the face mesh tells them, which falls short of the true angle by about a third on turned pictures."""

_RESAMPLES, _SEED = 2000, 1

Records = Mapping[str, Mapping[str, Any]]
"""By person what :meth:`benchmarks.stage_one.measuring.Bench.measure` gave."""


def summarize(records: Records, *, judges: Sequence[str]) -> dict[str, Any]:
    """By condition the figures over all people, as results hold them."""
    names = list(next(iter(records.values()))["conditions"])
    missed = {name: _missed(records, name, judges) for name in names}
    conditions = {}
    for name in names:
        result: dict[str, Any] = {"judges": {}}
        for judge in judges:
            result["judges"][judge] = {
                "psr_at_1": _share(missed[name][judge], records),
                "psr_at_1_by_yaw_degrees": _by_yaw([missed[name][judge]], records),
                "cosine_to_own": _mean(records, name, judge, "cosine_to_own"),
                "margin": _mean(records, name, judge, "margin"),
            }
        every = list(missed[name].values())
        result["mean"] = {
            "psr_at_1": figure(_stacked(every, records), resamples=_RESAMPLES, seed=_SEED).as_json(),
            "psr_at_1_by_yaw_degrees": _by_yaw(every, records),
        }
        for ceiling in (CEILING.name, UNSEEN_CEILING.name):
            if {FLOOR.name, ceiling} <= missed.keys() and name not in (NO_MASK, FLOOR.name, ceiling):
                ends = [_stacked(list(missed[end].values()), records) for end in (FLOOR.name, ceiling)]
                result["mean"].setdefault("share_of_way_to", {})[ceiling] = share_of_way(
                    _stacked(every, records), floor=ends[0], ceiling=ends[1]
                )
        conditions[name] = result | _costs([record["conditions"][name] for record in records.values()])
    return conditions


def share_of_way(tally: Tally, *, floor: Tally, ceiling: Tally) -> dict[str, float | None]:
    """How much of the way from ``floor`` to ``ceiling`` a share goes, 1 for all of it, with its bootstrap interval over
    people; None where there is no way to go."""
    count = np.atleast_2d(tally.hits).shape[1]
    draws = np.random.default_rng(_SEED).integers(0, count, size=(_RESAMPLES, count))

    def ratio(people: np.ndarray | None) -> np.ndarray:
        low = floor.share(people)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((tally.share(people) - low) / (ceiling.share(people) - low))

    tail = (1 - CONFIDENCE) / 2
    spread = ratio(draws)
    spread = spread[np.isfinite(spread)]
    value = float(ratio(None))
    low, high = np.quantile(spread, [tail, 1 - tail]) if spread.size else (np.nan, np.nan)
    parts = {"value": value, "low": float(low), "high": float(high)}
    return {key: round(part, 4) if np.isfinite(part) else None for key, part in parts.items()}


def table(document: Mapping[str, Any]) -> str:
    """The figures in Markdown."""
    conditions = document["conditions"]
    judges = list(next(iter(conditions.values()))["judges"])
    heads = ["variations, mask's frame", *(f"PSR@1 {judge}" for judge in judges), "mean", "SSIM", "seconds"]
    lines = [heads, ["---"] * len(heads)]
    for name, result in conditions.items():
        shares = [*(result["judges"][judge]["psr_at_1"] for judge in judges), result["mean"]["psr_at_1"]]
        cells = [f"{share['value']:.2f} [{share['low']:.2f}, {share['high']:.2f}]" for share in shares]
        seconds = sum(result.get("seconds_median", {}).values())
        lines.append([name, *cells, f"{result.get('ssim_crop112_mean', 1):.3f}", f"{seconds:.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _missed(records: Records, condition: str, judges: Sequence[str]) -> dict[str, list[list[int]]]:
    """By judge and person, in order, which probes were missed."""
    return {
        judge: [record["conditions"][condition]["judges"][judge]["missed"] for record in records.values()]
        for judge in judges
    }


def _tally(missed: Sequence[Sequence[float]], records: Records) -> Tally:
    owners = [name for name, probes in zip(records, missed, strict=True) for _ in probes]
    return Tally.of(np.concatenate([np.asarray(probes) for probes in missed]), owners, people=list(records))


def _stacked(missed: Sequence[Sequence[Sequence[int]]], records: Records) -> Tally:
    return Tally.stack([_tally(one, records) for one in missed])


def _share(missed: Sequence[Sequence[int]], records: Records) -> dict[str, float | int]:
    return figure(_tally(missed, records), resamples=_RESAMPLES, seed=_SEED).as_json()


def _by_yaw(missed: Sequence[Sequence[Sequence[int]]], records: Records) -> dict[str, dict[str, float | int | None]]:
    """Of probes turned so far, the mean over judges."""
    yaws = [yaw for record in records.values() for yaw in record["yaw_degrees"]]
    turned = np.abs(np.array([np.nan if yaw is None else yaw for yaw in yaws], float))
    flat = np.array([[probe for probes in one for probe in probes] for one in missed], float)
    buckets: dict[str, dict[str, float | int | None]] = {}
    for low, high in YAW_BUCKETS:
        chosen = (turned >= low) & (turned < high)
        share = round(float(flat[:, chosen].mean()), 4) if chosen.any() else None
        buckets[f"{low:.0f}-{high:.0f}"] = {"probes": int(chosen.sum()), "psr_at_1": share}
    return buckets


def _mean(records: Records, condition: str, judge: str, what: str) -> float:
    rows = [record["conditions"][condition]["judges"][judge][what] for record in records.values()]
    return round(fmean(value for row in rows for value in row), 4)


def _costs(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How visible masks were, and what they took; nothing for no mask."""
    runs = [run for outcome in outcomes for run in outcome.get("seconds", ())]
    if not runs:
        return {}
    seen = [photo for outcome in outcomes for photo in outcome.get("people_see", ())]
    return {
        **{f"{name}_mean": round(fmean(photo[name] for photo in seen), 4) for name in (seen[0] if seen else ())},
        "ssim_crop112_mean": round(fmean(ssim for outcome in outcomes for ssim in outcome["ssim"]), 4),
        "strength_mean": round(fmean(one for outcome in outcomes for one in outcome["strength"]), 3),
        "seconds_median": {stage: round(median(run[stage] for run in runs), 2) for stage in runs[0]},
    }
