"""The services' whole way in this process, for `facecloak evaluate`: the same domain code, without gRPC."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enroll_service.pipeline import EnrollmentReport, PipelineSettings, SynthesizerName
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from facecloak.cloaking.cloaker import Cloaker, MasksInMemory, Subject
from facecloak.code_digest import code_digest
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.faces import Box, FaceFinder
from facecloak.masks.bank import MaskBank, StoredMask, mask_from_bytes
from facecloak.masks.displacement import displacement_size
from facecloak.models.repository import ModelRepository
from facecloak.stores import LocalMaskStore, MaskNotFound, Sealer
from facecloak.users import DEFAULT_TENANT, User
from facecloak_evaluation.protocol import CloakedPhoto, EnrollmentCost
from facecloak_evaluation.surrogate_guard import RecognizerIdentity

if TYPE_CHECKING:
    from enroll_service.pipeline.enroller import Enroller

THREADS_PER_ENROLLMENT = 1
"""Enrollments run side by side, one a core, each with one thread: the results then do not depend on how many run."""

SHAPING_MODULES = ("enroll_service.pipeline.enroller", "facecloak.recognizers.onnx_runtime")
"""Code that decides what a mask looks like, with all that it imports: when it changes, kept masks are made again."""


class InProcessProtector:
    """Enrolls in worker processes and cloaks in this one.

    Masks are kept sealed in `work`, by settings, code and photo, so that an interrupted measurement goes on where it
    stopped; without `work` they are kept in a folder that ends with this object.

    Args:
        model_repository: where recognizers and finders are.
        settings: how masks are learned.
        seed: of every enrollment, so that a measurement can be repeated.
        work: folder for sealed masks.
        jobs: enrollments at once.
    """

    def __init__(
        self, *, model_repository: Path, settings: PipelineSettings, seed: int, work: Path | None = None, jobs: int = 1
    ) -> None:
        repository = ModelRepository(model_repository)
        self._settings = settings
        self._seed = seed
        # The gradient graph shapes the mask, the embedding graph the target.
        self._graphs = [
            (repository.spec(name).model_sha256, repository.spec(name).gradient_sha256) for name in settings.recognizers
        ]
        self._surrogates = tuple(RecognizerIdentity.of(repository.spec(name)) for name in settings.recognizers)
        self._temporary = None if work else tempfile.TemporaryDirectory(prefix="facecloak-evaluation-")
        root = Path(self._temporary.name) if self._temporary else Path(str(work))
        self._store = LocalMaskStore(root / "masks", Sealer.from_key_file(root / "key"))
        self._finder = FaceFinder.load(model_repository, threads=THREADS_PER_ENROLLMENT)
        self._masks: dict[str, StoredMask] = {}
        self._code = _code_digest()
        self._pool = ProcessPoolExecutor(
            max_workers=jobs,
            # A forked child would inherit the parent's onnxruntime threads in an unknown state.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(str(model_repository), settings.model_dump_json(), self._code),
        )

    def surrogates(self) -> tuple[RecognizerIdentity, ...]:
        """What the masks are learned against, and what else shapes them: none of it can evaluate them."""
        return self._surrogates

    def describe(self) -> Mapping[str, Any]:
        """Settings, finder and code."""
        settings = self._settings.model_dump(mode="json")
        if settings.get("anchors"):
            settings["anchors"] = "sha256:" + hashlib.sha256(Path(settings["anchors"]).read_bytes()).hexdigest()
        if self._settings.synthesizer is SynthesizerName.ARC2FACE:
            from enroll_service.pipeline.synthesize.arc2face.weights import Weights

            settings["arc2face"] |= {"weights": f"sha256:{Weights.of(self._settings.arc2face).digest()}", "base": ""}
        return {
            "path": "in process: Enroller and Cloaker, the services' own domain code",
            "settings": settings,
            "seed": self._seed,
            "finder": self._finder.identity,
            "code_sha256": self._code,
            "threads_per_enrollment": THREADS_PER_ENROLLMENT,
        }

    def enroll(self, user: str, photos: Sequence[EnrollmentPhoto]) -> EnrollmentCost:
        """Learns the mask, or takes the one that an earlier run of the same settings, code and photos left."""
        key, wanted = self._key(photos), self._settings.masks
        cpu_seconds = memory = None
        mask = self._kept(key)
        reused = mask is not None and len(mask.masks) >= wanted
        if mask is None or not reused:
            data, cpu_seconds, memory = self._pool.submit(_enroll, photos, self._seed).result()
            mask = mask_from_bytes(data)
            self._store.put(User(DEFAULT_TENANT, key), mask)
        self._masks[user] = first_masks(mask, wanted, secret=hashlib.sha256(key.encode()).digest())
        # The mask carries the time that it took: waiting for a free worker is not counted, and a reused mask tells too.
        stages = seconds_of_first(mask, wanted)
        return EnrollmentCost(
            seconds=sum(stages.values()),
            cpu_seconds=cpu_seconds,
            stages=stages,
            peak_memory_mebibytes=memory,
            reused=reused,
            displacements=tuple(displacement_size(mask.displacement) for mask in self._masks[user].masks if mask.moves),
        )

    def _kept(self, key: str) -> StoredMask | None:
        try:
            return self._store.get(User(DEFAULT_TENANT, key))
        except MaskNotFound:
            return None

    def cloak(self, user: str, photo: bytes, box: Box) -> CloakedPhoto:
        """As ApplyCloak does for one subject with a box hint."""
        return self.cloak_at(user, photo, box, strength=1.0)

    def cloak_at(self, user: str, photo: bytes, box: Box, *, strength: float) -> CloakedPhoto:
        """The same with every level of the mask times `strength`."""
        cloaker = Cloaker(self._finder, MasksInMemory(self._masks), strength=strength)
        result = cloaker.cloak(photo, [Subject(user_id=user, box=box)])
        return CloakedPhoto(photo=result.photo, outcome=result.subjects[0].outcome.value)

    def displace(self, user: str, photo: bytes, box: Box) -> CloakedPhoto | None:
        """What the mask that this photo gets displaces, without what it paints; None where no mask of theirs does."""
        stored = self._masks[user]
        if not any(mask.moves for mask in stored.masks):
            return None
        cloaker = Cloaker(self._finder, MasksInMemory({user: displacing_only(stored)}))
        result = cloaker.cloak(photo, [Subject(user_id=user, box=box)])
        return CloakedPhoto(photo=result.photo, outcome=result.subjects[0].outcome.value)

    def close(self) -> None:
        """Ends the workers; kept masks stay in `work` only."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._temporary is not None:
            self._temporary.cleanup()

    def _key(self, photos: Sequence[EnrollmentPhoto]) -> str:
        settings = self.describe()["settings"]
        # A larger bank's first masks are a smaller bank: it need not be learned again.
        settings["masks"] = 0
        parts = {
            "settings": settings,
            "seed": self._seed,
            "graphs": self._graphs,
            "finder": self._finder.identity,
            "code": self._code,
            "photos": [(hashlib.sha256(one.data).hexdigest(), repr(one.face)) for one in photos],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def displacing_only(stored: StoredMask) -> StoredMask:
    """The same masks with nothing to paint; a photo gets the one that it gets of `stored`."""
    bare = tuple(replace(mask, pixels=np.zeros_like(mask.pixels), target_jod=None) for mask in stored.masks)
    return MaskBank(bare, stored.secret) if isinstance(stored, MaskBank) else bare[0]


def first_masks(mask: StoredMask, count: int, *, secret: bytes) -> StoredMask:
    """The bank of the first masks of a bank. ``secret`` is in place of its random one, so that a measurement can be
    repeated: which photo gets which mask is chance, but the same chance."""
    if count == 1 or len(mask.masks) == 1:
        return mask.masks[0]
    return MaskBank(mask.masks[:count], secret)


def seconds_of_first(mask: StoredMask, count: int) -> dict[str, float]:
    """Wall time by stage that the first masks of a bank took; what is done a mask is counted for these only."""
    report = EnrollmentReport.read(mask.masks[0].report)
    stages = dict(report.seconds)
    if report.bank is not None and count < len(mask.masks):
        stages["perturb"] = round(sum(report.bank.mask_seconds[:count]), 2)
        stages["personalize"] = round(stages["personalize"] * count / len(mask.masks), 2)
    return stages


class CodeChanged(FaceCloakError):
    """Masks of one measurement must come from one state of the code."""

    code = ErrorCode.ABORTED
    reason = "CODE_CHANGED"


@functools.cache  # so that all rounds of a measurement are held to the code that the first one found
def _code_digest() -> str:
    return code_digest(*SHAPING_MODULES)


# One enroller a worker process; set by _start_worker, and left empty where the code is not the measurement's any more.
_enroller: Enroller | None = None


def _start_worker(model_repository: str, settings: str, code: str) -> None:
    """Runs once in every worker process."""
    global _enroller
    if _code_digest() != code:
        return
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS_PER_ENROLLMENT))
    import cv2
    import torch

    from enroll_service.pipeline.enroller import Enroller
    from facecloak.recognizers.onnx_runtime import OnnxRuntime

    torch.set_num_threads(THREADS_PER_ENROLLMENT)
    cv2.setNumThreads(THREADS_PER_ENROLLMENT)
    chosen = PipelineSettings.model_validate_json(settings)
    repository = Path(model_repository)
    runtime = OnnxRuntime(repository, names=chosen.recognizers, threads=THREADS_PER_ENROLLMENT)
    finder = FaceFinder.load(repository, threads=THREADS_PER_ENROLLMENT)
    _enroller = Enroller(runtime=runtime, finder=finder, settings=chosen)


def _enroll(photos: Sequence[EnrollmentPhoto], seed: int) -> tuple[bytes, float, float]:
    """In a worker: the mask's bytes, the processor time that it took (s), the process's largest memory (MiB)."""
    if _enroller is None:
        raise CodeChanged("The code changed while the measurement ran: measure from a checkout that stays as it is.")
    began = time.process_time()
    # Of several photos, those that would be refused are left out, as the service does when it is told to.
    mask = _enroller.run(
        photos, progress=lambda _: None, cancelled=lambda: False, seed=seed, leave_out_unfit=len(photos) > 1
    )
    # Linux counts in KiB.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return mask.to_bytes(), time.process_time() - began, memory
