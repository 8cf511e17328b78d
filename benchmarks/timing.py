"""Timing that compares fairly: the candidates take turns, so that a busy moment of the machine hits them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one candidate."""

    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float
    runs: int

    def as_json(self) -> dict[str, float | int]:
        return {
            "median_ms": round(self.median_ms, 3),
            "lower_quartile_ms": round(self.lower_quartile_ms, 3),
            "upper_quartile_ms": round(self.upper_quartile_ms, 3),
            "runs": self.runs,
        }


def take_turns(
    candidates: Mapping[str, Callable[[], object]],
    *,
    runs: int,
    warm_up: int = 1,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, Timing]:
    """Call the candidates A B C A B C ..., `runs` times each after `warm_up` unmeasured rounds.

    Args:
        runs: at least 2.
        clock_ns: `time.process_time_ns` counts the processor's time, which other work on the machine hardly moves.
    """
    elapsed: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(warm_up + runs):
        for name, candidate in candidates.items():
            began = clock_ns()
            candidate()
            if turn >= warm_up:
                elapsed[name].append((clock_ns() - began) / 1e6)
    timings = {}
    for name, values in elapsed.items():
        lower, _, upper = quantiles(values, n=4, method="inclusive")
        timings[name] = Timing(median(values), lower, upper, runs)
    return timings
