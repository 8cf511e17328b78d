"""One machine, all cores: a process a core, each with its own face finder, and batches of photos that follow each
other, so that a person's mask is fetched once."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait as wait_for_end

from facecloak_backfill.job import BackfillJob
from facecloak_backfill.people import PhotoTask
from facecloak_backfill.photo_work import PhotoWorker
from facecloak_backfill.record import Fate, PhotoRecord

Batch = tuple[PhotoTask, ...]

# Enough that no process waits for the next batch; few, so that a listing is read no faster than photos are done.
_BATCHES_A_PROCESS = 2

_worker: PhotoWorker | None = None


def work_in_processes(job: BackfillJob, batches: Iterable[Batch], *, processes: int) -> Iterator[list[PhotoRecord]]:
    """Works on batches; yields the records of each as it is done.

    A process that dies (out of memory, a decoder that crashes) takes the pool with it. Then the photos that were being
    worked on are done again one by one, and the one that a process dies of again is a dead letter.
    """
    remaining = iter(batches)
    suspects: list[PhotoTask] = []
    while True:
        under_way: dict[Future[list[PhotoRecord]], Batch] = {}
        try:
            with _pool(job, processes) as pool:
                yield from _stream(pool, remaining, under_way, ahead=processes * _BATCHES_A_PROCESS)
        except BrokenProcessPool:
            suspects = [task for batch in under_way.values() for task in batch]
        if not suspects:
            return
        for task in suspects:
            yield [_alone(job, task)]
        suspects = []


def _stream(
    pool: ProcessPoolExecutor,
    remaining: Iterator[Batch],
    under_way: dict[Future[list[PhotoRecord]], Batch],
    *,
    ahead: int,
) -> Iterator[list[PhotoRecord]]:
    """``under_way`` holds what was begun and not yielded, whatever happens."""
    while True:
        for batch in islice(remaining, ahead - len(under_way)):
            try:
                under_way[pool.submit(_work, batch)] = batch
            except BrokenProcessPool:
                under_way[Future()] = batch
                raise
        if not under_way:
            return
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            records = future.result()
            del under_way[future]
            yield records


def _alone(job: BackfillJob, task: PhotoTask) -> PhotoRecord:
    try:
        with _pool(job, 1) as pool:
            return pool.submit(_work, (task,)).result()[0]
    except BrokenProcessPool:
        advice = "The process that worked on it died twice: out of memory, or a decoder crashed."
        return PhotoRecord(task.name, Fate.DEAD, "WORKER_DIED", advice)


def _pool(job: BackfillJob, processes: int) -> ProcessPoolExecutor:
    # Not forked: ONNX Runtime and the store's client have threads.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(job,))


def _begin(job: BackfillJob) -> None:
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = PhotoWorker(job)


def _end_with_parent() -> None:
    """Who kills the command means its processes, too; they would wait forever for their next batch."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)


def _work(batch: Batch) -> list[PhotoRecord]:
    if _worker is None:
        raise RuntimeError("the process was not begun")
    return [_worker.work(task) for task in batch]
