"""Enrollments as jobs: a bounded queue, worker threads, and followers who see a job's progress and its result.

A job ends early when nobody follows it any more. A request id names a job, so that a repeated call joins the first one.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b

import structlog
from cachetools import TTLCache

from enroll_service.errors import EnrollmentOvertaken, EnrollmentSuperseded, RequestIdReused
from enroll_service.metrics import EnrollMetrics
from enroll_service.photo import EnrollmentPhoto
from enroll_service.stages.settings import Strength
from facecloak.bank import StoredMask
from facecloak.errors import FaceCloakError
from facecloak_rpc.errors import CallCancelled, DeadlineExceeded, Overloaded, ShuttingDown

_log = structlog.get_logger("enroll_service.jobs")
_CONTENT_KEY = secrets.token_bytes(32)


class Stage(StrEnum):
    """Which part of the work is going on."""

    QUEUED = "queued"
    SYNTHESIZE = "synthesize"
    PERTURB = "perturb"
    PERSONALIZE = "personalize"


@dataclass(frozen=True)
class ProgressEvent:
    """How far a job has come; ``fraction`` is 0..1 of the whole and never falls."""

    stage: Stage
    fraction: float
    detail: str = ""


@dataclass(frozen=True)
class Enrollment:
    """What is known about a stored mask; everything of it but the pixels."""

    mask_id: str
    created_at: str
    seed: int
    versions: dict[str, str]
    report: dict[str, object]
    mask_count: int = 1

    @classmethod
    def of(cls, mask: StoredMask) -> Enrollment:
        """Describes ``mask``."""
        return cls(
            mask_id=mask.mask_id,
            created_at=mask.created_at,
            seed=mask.seed,
            versions=dict(mask.versions),
            report=dict(mask.report),
            mask_count=len(mask.masks),
        )


@dataclass(frozen=True)
class Order:
    """What to enroll: 1..16 photos of one user. ``seed`` or ``strength`` None: the operator's; ``request_id`` may be
    empty.

    With ``add`` the user's stored mask is refined: the queue puts it in as ``earlier`` when the work begins.
    """

    user_id: str
    photos: tuple[EnrollmentPhoto, ...] = field(repr=False)
    seed: int | None = None
    request_id: str = ""
    strength: Strength | None = None
    add: bool = False
    earlier: StoredMask | None = field(default=None, repr=False)

    def digest(self) -> bytes:
        """Keyed digest of the content, to tell a repeated call from another one; useless outside this process."""
        digest = blake2b(key=_CONTENT_KEY, digest_size=32)
        photos = [part for photo in self.photos for part in (photo.data, repr(photo.face).encode())]
        options = repr((self.seed, self.strength, self.add)).encode()
        for part in (self.user_id.encode(), options, *photos):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()


Work = Callable[[Order, Callable[[ProgressEvent], None], Callable[[], bool]], StoredMask]
"""Learns a mask: (order, progress, cancelled) -> mask. Asks ``cancelled`` every iteration; raises once it is true."""

Recall = Callable[[str], StoredMask]
"""A user's stored mask; raises MaskNotFound."""

Keep = Callable[[str, StoredMask], None]
"""Stores a user's finished mask, atomically."""


class Job:
    """One enrollment. All fields that change are guarded by ``changed``, the condition of the whole queue."""

    def __init__(self, order: Order, *, digest: bytes, changed: threading.Condition) -> None:
        self.user_id = order.user_id
        self.request_id = order.request_id
        self.order: Order | None = order  # dropped at the end: photos are held no longer than needed
        self.digest = digest
        self.turn = 0  # the lowest goes first; see EnrollmentJobs
        self.changed = changed
        self.followers: set[Follower] = set()
        self.progress = ProgressEvent(Stage.QUEUED, 0.0)
        self.cause: FaceCloakError | None = None
        self.result: Enrollment | None = None
        self.error: BaseException | None = None
        self.done = False
        # The work's log lines carry the id of the call that ordered it, and its spans belong to that call's trace.
        self.context = copy_context()
        # Read without the lock at every iteration of the learning.
        self.cancelled = threading.Event()

    def cancel(self, cause: FaceCloakError) -> None:
        """Asks the work to stop; followers get ``cause``. Call with the lock held."""
        if not self.done and self.cause is None:
            self.cause = cause
            self.cancelled.set()
            self.changed.notify_all()


class Follower:
    """One caller's view of a job. Iterate it for progress; the job's result is then in :attr:`result`."""

    def __init__(self, job: Job, *, buffer: int) -> None:
        self._job = job
        # Bounded: a slow reader misses steps, never the newest one, and holds up nobody.
        self._events: deque[ProgressEvent] = deque([job.progress], maxlen=buffer)
        self._left: FaceCloakError | None = None

    @property
    def result(self) -> Enrollment:
        """The stored mask's description, once the iteration has ended."""
        if self._job.result is None:
            raise RuntimeError("the job has not finished")
        return self._job.result

    def __iter__(self) -> Iterator[ProgressEvent]:
        """Yields progress until the job is done.

        Raises:
            FaceCloakError: why there is no mask: refused photos, cancelled, deadline, ...
        """
        while True:
            with self._job.changed:
                self._job.changed.wait_for(self._has_news)
                if self._left is not None:
                    raise self._left
                if not self._events:
                    if self._job.error is not None:
                        raise self._job.error
                    return
                event = self._events.popleft()
            yield event

    def push(self, event: ProgressEvent) -> None:
        """Adds an event. Call with the lock held."""
        self._events.append(event)

    def leave(self, cause: FaceCloakError | None = None) -> None:
        """Stops following; the last follower to leave cancels the job. May be called any number of times."""
        with self._job.changed:
            self._job.followers.discard(self)
            self._left = self._left or cause or CallCancelled("the call was cancelled")
            if not self._job.followers:
                self._job.cancel(self._left)
            self._job.changed.notify_all()

    def _has_news(self) -> bool:
        return bool(self._events) or self._job.done or self._left is not None


class EnrollmentJobs:
    """Runs orders on a fixed number of threads, at most ``queue_limit`` waiting, ``user_queue_limit`` of one user.

    Fair between users: a job queues up when it arrives, but behind everybody again when an earlier one of its own user
    starts; so a user with many orders holds another up by one at most, and nobody waits for ever. One user's orders run
    one after the other, in their order: the mask that stays is the last one asked for.
    """

    def __init__(
        self,
        *,
        work: Work,
        keep: Keep,
        recall: Recall,
        workers: int,
        queue_limit: int,
        user_queue_limit: int,
        seconds_limit: float,
        results_limit: int,
        results_ttl_seconds: float,
        progress_buffer: int = 64,
        metrics: EnrollMetrics | None = None,
    ) -> None:
        self._work = work
        self._recall = recall
        self._keep = keep
        self._queue_limit = queue_limit
        self._user_queue_limit = user_queue_limit
        self._seconds_limit = seconds_limit
        self._progress_buffer = progress_buffer
        self._metrics = metrics
        self._changed = threading.Condition(threading.RLock())
        self._waiting: list[Job] = []
        self._turns = itertools.count()
        self._running: set[Job] = set()
        self._finished: TTLCache[str, Job] = TTLCache(results_limit, results_ttl_seconds)
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

    def submit(self, order: Order) -> Follower:
        """Queues an order, or joins the job of the same request id.

        Raises:
            Overloaded: the queue is full; says when to come back.
            RequestIdReused: the request id belongs to other content.
            ShuttingDown: the service stops.
        """
        digest = order.digest() if order.request_id else b""
        with self._changed:
            if self._closed:
                raise ShuttingDown("the service is about to stop")
            job = self._known(order.request_id, digest) if order.request_id else None
            if job is None:
                job = Job(order, digest=digest, changed=self._changed)
                self._enqueue(job)
            follower = Follower(job, buffer=self._progress_buffer)
            job.followers.add(follower)
            self._changed.notify_all()
        return follower

    def forget(self, user_id: str, *, then: Callable[[], bool]) -> bool:
        """Cancels the user's jobs, drops their results, and runs ``then`` while no mask is being stored."""
        with self._changed:
            for job in [*self._waiting, *self._running]:
                if job.user_id == user_id:
                    job.cancel(EnrollmentSuperseded("the user was deleted while the enrollment ran"))
            self._drop_cancelled()
            for request_id in [key for key, job in self._finished.items() if job.user_id == user_id]:
                del self._finished[request_id]
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

    def _known(self, request_id: str, digest: bytes) -> Job | None:
        live = [job for job in (*self._running, *self._waiting) if job.request_id == request_id]
        # A job that was told to stop gives no result: its caller's retry is a new job.
        job = next((job for job in live if not job.cancelled.is_set()), None) or self._finished.get(request_id)
        if job is not None and job.digest != digest:
            raise RequestIdReused("this request id was used with other photos, another user or other options")
        return job

    def _enqueue(self, job: Job) -> None:
        self._drop_cancelled()
        seconds = self._typical_seconds / max(1, len(self._threads))
        if len(self._waiting) >= self._queue_limit:
            raise Overloaded(
                "too many enrollments are waiting",
                queue_limit=self._queue_limit,
                retry_after_seconds=f"{seconds:.1f}",
            )
        if sum(other.user_id == job.user_id for other in self._waiting) >= self._user_queue_limit:
            raise Overloaded(
                "too many enrollments of this user are waiting",
                user_queue_limit=self._user_queue_limit,
                retry_after_seconds=f"{max(seconds, self._typical_seconds):.1f}",
            )
        job.turn = next(self._turns)
        self._waiting.append(job)

    def _next(self) -> Job | None:
        """The waiting job whose turn it is; None while there is none, or only of users with one that runs."""
        busy = {job.user_id for job in self._running}
        return min((job for job in self._waiting if job.user_id not in busy), key=lambda job: job.turn, default=None)

    def _take(self, job: Job) -> None:
        self._waiting.remove(job)
        for later in self._waiting:
            if later.user_id == job.user_id:
                later.turn = next(self._turns)

    def _drop_cancelled(self) -> None:
        # Those told to stop give their places up at once, not when a worker comes to them.
        self._waiting = [job for job in self._waiting if not self._retire_if_cancelled(job)]

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
                self._take(job)
                if self._retire_if_cancelled(job):
                    continue
                self._running.add(job)
            job.context.run(self._run, job)

    def _run(self, job: Job) -> None:
        assert job.order is not None
        started = time.monotonic()

        def progress(event: ProgressEvent) -> None:
            with self._changed:
                fraction = min(1.0, max(event.fraction, job.progress.fraction))
                job.progress = ProgressEvent(event.stage, fraction, event.detail)
                for follower in job.followers:
                    follower.push(job.progress)
                self._changed.notify_all()

        def cancelled() -> bool:
            if time.monotonic() - started > self._seconds_limit:
                with self._changed:
                    job.cancel(DeadlineExceeded("the enrollment took too long", seconds_limit=self._seconds_limit))
            return job.cancelled.is_set()

        mask: StoredMask | None = None
        error: BaseException | None = None
        try:
            order = job.order
            if order.add:
                order = replace(order, earlier=self._recall(job.user_id))
            mask = self._work(order, progress, cancelled)
            with self._storing:
                if not cancelled():
                    self._require_current(order)
                    self._keep(job.user_id, mask)
                else:
                    mask = None
        except Exception as caught:  # noqa: BLE001 - it belongs to the caller, whom it reaches through the follower
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

    def _require_current(self, order: Order) -> None:
        """Of two calls that refine one mask at once, the later would undo the other's photos."""
        if order.earlier is not None and self._recall(order.user_id).mask_id != order.earlier.mask_id:
            raise EnrollmentOvertaken("the user's mask was replaced while it was being refined")

    def _finish(self, job: Job, *, error: BaseException | None, mask: StoredMask | None = None) -> None:
        with self._changed:
            job.error = error
            job.result = Enrollment.of(mask) if mask is not None else None
            job.done = True
            job.order = None
            if job.result is not None and job.request_id and not job.cancelled.is_set():
                self._finished[job.request_id] = job
            self._changed.notify_all()
