"""Enrollments as jobs: a bounded queue, worker threads, and subscribers who see a job's progress and its result.

A job ends early when nobody follows it any more. A request id names a job, so that a repeated call joins the first one,
and stays with the mask that the job made (:mod:`enroll_service.jobs.idempotency`).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol, TypeVar

import structlog
from cachetools import TTLCache

from enroll_service.errors import EnrollmentOvertaken, RequestIdReused
from enroll_service.jobs.fair_queue import FairQueue
from enroll_service.jobs.idempotency import is_of, is_receipt_of, with_consent, with_receipt
from enroll_service.jobs.job import Job, Subscriber
from enroll_service.jobs.request import Enrollment, EnrollmentRequest
from enroll_service.metrics import EnrollMetrics
from enroll_service.pipeline.progress import Progress
from facecloak.call_context import cancellation, deadline
from facecloak.errors import FaceCloakError
from facecloak.masks.bank import StoredMask
from facecloak.masks.mask import MaskCorrupt
from facecloak.stores import MaskNotFound, SealBroken, StoreUnavailable, UserDeleted
from facecloak.users import User
from facecloak_rpc.caller_limits import CallerLimits
from facecloak_rpc.errors import DeadlineExceeded, ShuttingDown

_log = structlog.get_logger("enroll_service.jobs.runner")
_CONTENT_KEY = secrets.token_bytes(32)
# A store that restarts is back within seconds; who waits for an enrollment has waited for a minute.
_READ_BACK_SECONDS = 10.0
_READ_BACK_PAUSE_SECONDS = 0.5

Work = Callable[[EnrollmentRequest, Callable[[Progress], None], Callable[[], bool]], StoredMask]
"""Learns a mask: (request, progress, cancelled) -> mask. Asks ``cancelled`` every iteration; raises once it is true."""

Result = TypeVar("Result")


class Masks(Protocol):
    """What the queue needs of a :class:`facecloak.stores.MaskStore`."""

    def get(self, user: User) -> StoredMask:
        """A user's stored mask; raises MaskNotFound."""
        ...

    def epoch(self, user: User) -> int:
        """Of a mask that is asked for now."""
        ...

    def put(self, user: User, mask: StoredMask, *, epoch: int | None = None) -> None:
        """Stores a user's finished mask, atomically; raises UserDeleted."""
        ...

    def deleted_receipt(self, user: User) -> Mapping[str, str]:
        """By which request the mask was made that was last deleted."""
        ...


class EnrollmentJobs:
    """Runs requests on a fixed number of threads; users take turns (:class:`FairQueue`).

    One user's requests run one after the other, in their order: the mask that stays is the last one asked for.
    """

    def __init__(
        self,
        *,
        work: Work,
        masks: Masks,
        workers: int,
        queue_limit: int,
        user_queue_limit: int,
        seconds_limit: float,
        results_limit: int,
        results_ttl_seconds: float,
        progress_buffer: int = 64,
        metrics: EnrollMetrics | None = None,
        limits: CallerLimits | None = None,
    ) -> None:
        self._work = work
        self._masks = masks
        self._seconds_limit = seconds_limit
        self._progress_buffer = progress_buffer
        self._metrics = metrics
        self._changed = threading.Condition(threading.RLock())
        self._waiting = FairQueue(limit=queue_limit, user_limit=user_queue_limit, limits=limits)
        self._running: set[Job] = set()
        self._results_ttl_seconds = results_ttl_seconds
        self._finished: TTLCache[tuple[str, str], Job] = TTLCache(results_limit, results_ttl_seconds)
        self._storing = threading.Lock()
        self._closed = False
        self._typical_seconds = 30.0
        self._threads = [threading.Thread(target=self._serve, name=f"enroll-{i}", daemon=True) for i in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Jobs being worked on."""
        return len(self._running)

    def submit(self, request: EnrollmentRequest) -> Subscriber:
        """Queues a request, or joins the job of the same request id, or takes the mask that this very request has made.

        Raises:
            Overloaded: the queue is full; says when to come back.
            RequestIdReused: the request id belongs to other content.
            UserDeleted, EnrollmentOvertaken: the mask that this very request made is there no more.
            ShuttingDown: the service stops.
            StoreUnavailable, WrongKey: the store could not take the mask.
        """
        digest = request.digest(key=_CONTENT_KEY) if request.request_id else b""
        with self._changed:
            subscriber = self._join(request, digest=digest)
        if subscriber is not None:
            return subscriber
        stored, epoch = self._stored(request)  # without the lock: a store may be slow
        with self._changed:
            subscriber = self._join(request, digest=digest)
            if subscriber is None:
                job = Job(request, digest=digest, changed=self._changed, epoch=epoch)
                made = self._made_before(request, stored, digest=digest)
                if made is None:
                    self._enqueue(job)
                else:
                    job.finish(result=made)
                subscriber = self._subscribe(job)
        return subscriber

    def validate(self, request: EnrollmentRequest) -> StoredMask | None:
        """Whether the request would be taken now; nothing is queued. The mask that it would refine.

        Raises:
            MaskNotFound, MaskCorrupt, SealBroken: there is no mask to refine, or none that can be used.
            Others: see :meth:`submit`.
        """
        digest = request.digest(key=_CONTENT_KEY) if request.request_id else b""
        with self._changed:
            known = self._live(request, digest=digest)
        stored, _ = self._stored(request)
        with self._changed:
            if known is None and self._made_before(request, stored, digest=digest) is None:
                self._waiting.drop(self._retire_if_cancelled)
                self._waiting.require_place(request.user, request.caller, **self._usual_seconds())
        return self._masks.get(request.user) if request.add else None

    def forget(self, user: User, *, then: Callable[[], Result]) -> Result:
        """Cancels the user's jobs, drops their results, and runs ``then`` while no mask is being stored."""
        with self._changed:
            for job in [*self._waiting, *self._running]:
                if job.user == user:
                    job.cancel(UserDeleted("the user was deleted while the enrollment ran"))
            self._waiting.drop(self._retire_if_cancelled)
            for known in [key for key, job in self._finished.items() if job.user == user]:
                del self._finished[known]
        with self._storing:
            return then()

    def close(self) -> None:
        """Cancels what waits and runs, and waits for the threads."""
        with self._changed:
            self._closed = True
            for job in [*self._waiting, *self._running]:
                job.cancel(ShuttingDown("the service is about to stop"))
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=30)

    def _join(self, request: EnrollmentRequest, *, digest: bytes) -> Subscriber | None:
        """Follows the job of the same request id that waits or runs, if this instance knows one."""
        job = self._live(request, digest=digest)
        return None if job is None else self._subscribe(job)

    def _live(self, request: EnrollmentRequest, *, digest: bytes) -> Job | None:
        if self._closed:
            raise ShuttingDown("the service is about to stop")
        return self._known(request, digest) if request.request_id else None

    def _known(self, request: EnrollmentRequest, digest: bytes) -> Job | None:
        name = (request.tenant, request.request_id)  # a tenant's request ids are its own
        live = [job for job in (*self._running, *self._waiting) if job.name == name]
        # A job that was told to stop gives no result: its caller's retry is a new job.
        job = next((job for job in live if not job.cancelled.is_set()), None)
        if job is not None and job.digest != digest:
            raise RequestIdReused("this request id was used with other photos, another user or other options")
        return job

    def _stored(self, request: EnrollmentRequest) -> tuple[StoredMask | None, int]:
        """The user's present mask, and the epoch of the next one.

        Raises:
            UserDeleted: this very request made a mask that was deleted since, here or at another instance.
        """
        # Asked whatever the request: a store that is away, or another key's, would take no mask after minutes of work.
        epoch = self._masks.epoch(request.user)
        try:
            return self._masks.get(request.user), epoch
        except (MaskNotFound, MaskCorrupt, SealBroken):
            pass  # nothing that a new enrollment would not mend
        if epoch > 1 and is_receipt_of(self._masks.deleted_receipt(request.user), request):
            raise UserDeleted("the user was deleted after this request was done")
        return None, epoch

    def _made_before(
        self, request: EnrollmentRequest, stored: StoredMask | None, *, digest: bytes
    ) -> Enrollment | None:
        """What this very request has made, here, before a restart, or at another instance: as long as it is there."""
        if not request.request_id:
            return None
        known = self._finished.get((request.tenant, request.request_id))
        if known is not None and known.digest != digest:
            raise RequestIdReused("this request id was used with other photos, another user or other options")
        if stored is not None and is_of(stored, request, ttl_seconds=self._results_ttl_seconds):
            return Enrollment.of(stored)
        if known is None or known.result is None:
            return None
        if stored is None:
            raise UserDeleted("the user was deleted after this request was done")
        raise EnrollmentOvertaken("the mask that this request made was replaced since: use a new request id")

    def _subscribe(self, job: Job) -> Subscriber:
        subscriber = Subscriber(job, buffer=self._progress_buffer)
        job.subscribers.add(subscriber)
        self._changed.notify_all()
        return subscriber

    def _enqueue(self, job: Job) -> None:
        # Those told to stop give their places up at once, not when a worker comes to them.
        self._waiting.drop(self._retire_if_cancelled)
        self._waiting.add(job, **self._usual_seconds())

    def _usual_seconds(self) -> dict[str, float]:
        seconds = self._typical_seconds
        return {"place_seconds": seconds / max(1, len(self._threads)), "job_seconds": seconds}

    def _next(self) -> Job | None:
        return self._waiting.next(busy={job.user for job in self._running})

    def _retire_if_cancelled(self, job: Job) -> bool:
        if job.cancelled.is_set():
            self._finish(job, error=job.cause)
        return job.done

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next() is not None or (self._closed and not self._waiting))
                job = self._next()
                if job is None:
                    return
                self._waiting.take(job)
                if self._retire_if_cancelled(job):
                    continue
                self._running.add(job)
            job.context.run(self._run, job)

    def _run(self, job: Job) -> None:
        assert job.request is not None
        started = time.monotonic()

        def progress(event: Progress) -> None:
            with self._changed:
                fraction = min(1.0, max(event.fraction, job.progress.fraction))
                job.progress = Progress(event.stage, fraction, event.detail)
                for subscriber in job.subscribers:
                    subscriber.push(job.progress)
                self._changed.notify_all()

        def cancelled() -> bool:
            if time.monotonic() - started > self._seconds_limit:
                with self._changed:
                    job.cancel(DeadlineExceeded("the enrollment took too long", seconds_limit=self._seconds_limit))
            return job.cancelled.is_set()

        # The context is this job's own. Waits in it, for a Triton that is away, end when the job does.
        cancellation.set(cancelled)
        # Those who asked may give up; the mask that was made is stored even so, if anybody still waits.
        deadline.set(None)
        mask: StoredMask | None = None
        error: BaseException | None = None
        try:
            request = job.request
            if request.add:
                request = replace(request, earlier=self._masks.get(job.user))
            mask = with_consent(with_receipt(self._work(request, progress, cancelled), request), request)
            with self._storing:
                if not cancelled():
                    self._require_current(request)
                    self._keep(job, mask)
                else:
                    mask = None
        except Exception as caught:  # noqa: BLE001 - it belongs to the caller, whom it reaches through the subscriber
            mask, error = None, caught
        with self._changed:
            self._running.discard(job)
            self._finish(job, error=None if mask else job.cause or error, mask=mask)
        seconds = time.monotonic() - started
        if mask is not None:
            self._typical_seconds += 0.3 * (seconds - self._typical_seconds)
        outcome = "stored" if mask else getattr(job.error, "reason", "INTERNAL")
        if self._metrics is not None:
            self._metrics.ended(outcome, seconds=seconds, mask=mask)
        _log.info("enrollment", outcome=outcome, seconds=round(seconds, 2))

    def _keep(self, job: Job, mask: StoredMask) -> None:
        """Stores the mask. Where the store does not say that it did, what is there is read before any answer."""
        try:
            self._masks.put(job.user, mask, epoch=job.epoch)
        except StoreUnavailable:
            end = time.monotonic() + _READ_BACK_SECONDS
            while True:
                try:
                    if self._masks.get(job.user).mask_id == mask.mask_id:
                        return
                except StoreUnavailable:
                    if time.monotonic() < end:
                        time.sleep(_READ_BACK_PAUSE_SECONDS)
                        continue
                except FaceCloakError:
                    pass  # none, or one that cannot be read: not this one
                raise

    def _require_current(self, request: EnrollmentRequest) -> None:
        """Of two calls that refine one mask at once, the later would undo the other's photos."""
        if request.earlier is not None and self._masks.get(request.user).mask_id != request.earlier.mask_id:
            raise EnrollmentOvertaken("the user's mask was replaced while it was being refined")

    def _finish(self, job: Job, *, error: BaseException | None, mask: StoredMask | None = None) -> None:
        with self._changed:
            job.finish(result=Enrollment.of(mask) if mask is not None else None, error=error)
            if job.result is not None and job.request_id and not job.cancelled.is_set():
                self._finished[job.name] = job
