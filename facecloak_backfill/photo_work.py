"""The work on one photo, the same in a process of the pool and on a node of a cluster.

A photo is read, cloaked by the apply service's own code, and put to the destination on the condition that nothing is
there: of any number of workers that do the same photo, one writes it.
"""

from __future__ import annotations

import time
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

from facecloak.cloaking.cloaker import CloakResult, Outcome
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.photos import PhotoTooLarge
from facecloak.stores import StoreUnavailable, WrongKey
from facecloak_backfill.job import BackfillJob
from facecloak_backfill.people import PhotoTask
from facecloak_backfill.places import StoredFile, open_place
from facecloak_backfill.record import Fate, PhotoRecord

if TYPE_CHECKING:
    from apply_service.server import ApplyDomain

# They say that something about this photo, or this person's mask, is wrong. All others may be gone the next time.
_OF_THE_PHOTO = (ErrorCode.INVALID_ARGUMENT, ErrorCode.FAILED_PRECONDITION, ErrorCode.NOT_FOUND)
_OF_THE_STORE = (StoreUnavailable, WrongKey)


class PhotoWorker:
    """Works on photos, one after another. Each process has one, and keeps the face finder and masks open in it."""

    def __init__(self, job: BackfillJob) -> None:
        """Opens the places. Raises FaceCloakError where one cannot be."""
        self._job = job
        self._source = open_place(job.source)
        self._destination = open_place(job.destination)

    @cached_property
    def domain(self) -> ApplyDomain:
        """The apply service's, by its settings in this process's environment."""
        from apply_service.server import build_domain
        from apply_service.settings import ApplySettings
        from facecloak_rpc.command import load_settings

        # The folders' models and the finder's sessions: opened once, at the first photo.
        return build_domain(load_settings(ApplySettings, data=self._job.data))

    def work(self, task: PhotoTask) -> PhotoRecord:
        """Cloak one photo and write it. Raises nothing: what goes wrong is in the record."""
        began, before = time.process_time(), self._requests()
        read = written = 0
        again = False
        try:
            if "domain" not in self.__dict__:
                # What opening models and store takes is not this photo's.
                began, before = self._opened()
            file = self._source.read(task.name, bytes_limit=self._limit)
            read = len(file.data)
            fate, outcome, advice = self._skipped(file) or (Fate.DEAD, "", "")
            if not outcome:
                fate, outcome, advice, written, again = self._cloaked(task, file.data)
        except FaceCloakError as error:
            is_photos = error.code in _OF_THE_PHOTO and not isinstance(error, _OF_THE_STORE)
            is_photos = is_photos or error.code is ErrorCode.INTERNAL
            # Where models or store cannot even be opened, no photo is at fault.
            is_photos = is_photos and "domain" in self.__dict__
            fate, outcome, advice = Fate.DEAD if is_photos else Fate.LEFT, error.reason, error.public_message
        except Exception as error:  # noqa: BLE001 - a defect that one photo meets must not end the run of a million others
            fate, outcome, advice = Fate.DEAD, "INTERNAL", f"{type(error).__name__}: report it with the photo."
        after = self._requests()
        return PhotoRecord(
            name=task.name,
            fate=fate,
            outcome=outcome,
            advice=advice,
            again=again,
            bytes_read=read,
            bytes_written=written,
            cpu_ms=1000 * (time.process_time() - began),
            requests=tuple((after - before).items()),
        )

    def _opened(self) -> tuple[float, Counter[str]]:
        """Opens the domain; the processor time and the requests until now."""
        _ = self.domain
        return time.process_time(), self._requests()

    def _cloaked(self, task: PhotoTask, data: bytes) -> tuple[Fate, str, str, int, bool]:
        """Fate, outcome, advice, bytes written, and whether the photo was there already."""
        if self._job.resumed and self._destination.exists(task.name) and self._is_cloaked_there(task):
            return Fate.WRITTEN, Outcome.CLOAKED, "", 0, True
        result = self._cloak(task, data)
        others = [subject for subject in result.subjects if not subject.outcome.is_cloaked]
        refused = [subject for subject in others if subject.outcome not in self._job.accepted]
        if refused:
            return Fate.DEAD, refused[0].outcome, refused[0].advice, 0, False
        outcome = others[0].outcome if others else _outcome_of(result)
        if self._destination.write_new(task.name, result.photo):
            return Fate.WRITTEN, outcome, "", len(result.photo), False
        there = self._destination.read(task.name, bytes_limit=self._limit).data
        if there == result.photo or self._is_cloaked_there(task):
            return Fate.WRITTEN, outcome, "", 0, True
        return Fate.DEAD, "OCCUPIED", "Another file of this name is at the destination.", 0, False

    def _cloak(self, task: PhotoTask, data: bytes) -> CloakResult:
        subjects = [person.subject(self._job.tenant) for person in task.people]
        return self.domain.cloaker.cloak(data, subjects, recloak=self._job.recloak)

    def _is_cloaked_there(self, task: PhotoTask) -> bool:
        """Whether what is at the destination says that it contains these people's masks."""
        try:
            there = self._destination.read(task.name, bytes_limit=self._limit).data
            return all(result.outcome is Outcome.ALREADY_CLOAKED for result in self._cloak(task, there).subjects)
        except FaceCloakError as error:
            if error.code in _OF_THE_PHOTO and not isinstance(error, _OF_THE_STORE):
                return False
            raise

    def _skipped(self, file: StoredFile) -> tuple[Fate, str, str] | None:
        if len(file.data) > self._limit:
            raise PhotoTooLarge(f"The photo has more than {self._limit} bytes.")
        if len(file.data) < self._job.smallest_bytes:
            return Fate.SKIPPED, "SMALL", ""
        if file.modified_at < self._job.since:
            return Fate.SKIPPED, "OLD", ""
        return None

    @cached_property
    def _limit(self) -> int:
        from apply_service.settings import ApplySettings
        from facecloak_rpc.command import load_settings

        return load_settings(ApplySettings, data=self._job.data).photo_limits.max_bytes

    def _requests(self) -> Counter[str]:
        counted = Counter(self._source.requests) + Counter(self._destination.requests)
        if "domain" in self.__dict__:
            counted["mask"] = sum(
                int(sample.value)
                for metric in self.domain.telemetry.registry.collect()
                if metric.name == "facecloak_store_seconds"
                for sample in metric.samples
                if sample.name.endswith("_count")
            )
        return counted


def _outcome_of(result: CloakResult) -> Outcome:
    """Of a photo in which everybody is cloaked: the first thing that was done."""
    outcomes = [subject.outcome for subject in result.subjects]
    return Outcome.CLOAKED if Outcome.CLOAKED in outcomes else outcomes[0]
