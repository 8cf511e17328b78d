"""Measuring several people at once, each in a process with one thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from benchmarks.stage_one.measuring import Bench, Gallery, Plan
from enroll_service.pipeline.errors import EnrollmentRefused
from facecloak_evaluation.dataset import Person

_opened: dict[str, Any] = {}


def open_bench(plan: Plan, gallery: Gallery | None = None) -> Bench:
    """One thread a process, as processes are what runs side by side."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    bench = Bench(plan)
    _opened.update(bench=bench, gallery=gallery)
    return bench


def measure_all(
    people: Sequence[Person], plan: Plan, gallery: Gallery, *, jobs: int
) -> Iterator[tuple[Person, dict[str, Any] | None]]:
    """Each person with what :meth:`Bench.measure` gave, in order; None for one whose enrollment photo is refused."""
    if jobs == 1:
        open_bench(plan, gallery)
        yield from zip(people, map(_measure, people), strict=True)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=open_bench, initargs=(plan, gallery)) as pool:
        yield from zip(people, pool.map(_measure, people), strict=True)


def _measure(person: Person) -> dict[str, Any] | None:
    bench: Bench = _opened["bench"]
    try:
        return bench.measure(person, _opened["gallery"])
    except EnrollmentRefused:
        return None
