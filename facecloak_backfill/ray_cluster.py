"""A cluster: Ray Data feeds an actor a core, and each does the same work as a process of the pool.

Ray does a batch again whose worker or node died. That is safe: a photo is put only where none is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from facecloak_backfill.job import BackfillJob
from facecloak_backfill.people import PersonInPhoto, PhotoTask
from facecloak_backfill.photo_work import PhotoWorker
from facecloak_backfill.record import PhotoRecord

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# ONNX Runtime's threads are the settings'; Ray would set them to what it thinks of.
_PHOTOS_A_BATCH = 16


def work_on_ray(
    job: BackfillJob, tasks: Iterable[PhotoTask], *, address: str, workers: int
) -> Iterator[list[PhotoRecord]]:
    """Works on photos; yields records as they come.

    Every node needs this package with the extra ``backfill``, the models, and the settings of the apply service in its
    environment: the key of the masks is never sent through Ray.

    Args:
        address: of the cluster's head, or "auto".
        workers: actors; 0: as many as the cluster has CPUs.

    Raises:
        ModuleNotFoundError: Ray needs the extra ``backfill``.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    ray.init(address=address, log_to_driver=False, configure_logging=False)
    try:
        context = DataContext.get_current()
        context.enable_progress_bars = False
        rows = [{"task": _to_text(task)} for task in tasks]
        if not rows:
            return
        actors = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        # Small blocks: a block is what is done again after a death, and what a record waits for.
        blocks = max(1, -(-len(rows) // (4 * _PHOTOS_A_BATCH)))
        data = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
            _RayWorker,
            fn_constructor_args=(job,),
            batch_size=_PHOTOS_A_BATCH,
            num_cpus=1,
            compute=ActorPoolStrategy(min_size=1, max_size=actors),
        )
        for batch in data.iter_batches(batch_size=None, prefetch_batches=0):
            yield [PhotoRecord.from_line(line.encode()) for line in batch["record"]]
    finally:
        ray.shutdown()


class _RayWorker:
    """What Ray Data makes one of in each actor."""

    def __init__(self, job: BackfillJob) -> None:
        self._worker = PhotoWorker(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        lines = [self._worker.work(_from_text(text)).to_line().decode() for text in batch["task"]]
        return {"record": np.array(lines, dtype=object)}


def _to_text(task: PhotoTask) -> str:
    return json.dumps([task.name, [[person.user_id, person.box] for person in task.people]])


def _from_text(text: str) -> PhotoTask:
    name, people = json.loads(text)
    return PhotoTask(name, tuple(PersonInPhoto(user, None if box is None else tuple(box)) for user, box in people))
