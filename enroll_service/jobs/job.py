"""One enrollment as a job, and the callers who follow it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextvars import copy_context

from enroll_service.jobs.request import Enrollment, EnrollmentRequest
from enroll_service.pipeline.progress import Progress, Stage
from facecloak.errors import FaceCloakError
from facecloak_rpc.errors import CallCancelled


class Job:
    """One enrollment. All fields that change are guarded by ``changed``, the condition of the whole queue."""

    def __init__(
        self, request: EnrollmentRequest, *, digest: bytes, changed: threading.Condition, epoch: int = 1
    ) -> None:
        self.user = request.user
        self.caller = request.caller
        self.request_id = request.request_id
        self.name = (request.tenant, request.request_id)
        self.epoch = epoch  # of the user's masks when this one was asked for: a deletion since then refuses it
        self.request: EnrollmentRequest | None = request  # dropped at the end: photos are held no longer than needed
        self.digest = digest
        self.turn = 0  # the lowest goes first; see FairQueue
        self.changed = changed
        self.subscribers: set[Subscriber] = set()
        self.progress = Progress(Stage.QUEUED, 0.0)
        self.cause: FaceCloakError | None = None
        self.result: Enrollment | None = None
        self.error: BaseException | None = None
        self.done = False
        # The work's log lines carry the id of the call that ordered it, and its spans belong to that call's trace.
        self.context = copy_context()
        # Read without the lock at every iteration of the learning.
        self.cancelled = threading.Event()

    def cancel(self, cause: FaceCloakError) -> None:
        """Asks the work to stop; subscribers get ``cause``. Call with the lock held."""
        if not self.done and self.cause is None:
            self.cause = cause
            self.cancelled.set()
            self.changed.notify_all()

    def finish(self, *, result: Enrollment | None = None, error: BaseException | None = None) -> None:
        """Ends the job for its subscribers. Call with the lock held."""
        self.result = result
        self.error = error
        self.done = True
        self.request = None
        self.changed.notify_all()


class Subscriber:
    """One caller's view of a job. Iterate it for progress; the job's result is then in :attr:`result`."""

    def __init__(self, job: Job, *, buffer: int) -> None:
        self._job = job
        # Bounded: a slow reader misses steps, never the newest one, and holds up nobody.
        self._events: deque[Progress] = deque([job.progress], maxlen=buffer)
        self._left: FaceCloakError | None = None

    @property
    def result(self) -> Enrollment:
        """The stored mask's description, once the iteration has ended."""
        if self._job.result is None:
            raise RuntimeError("the job has not finished")
        return self._job.result

    def __iter__(self) -> Iterator[Progress]:
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

    def push(self, event: Progress) -> None:
        """Adds an event. Call with the lock held."""
        self._events.append(event)

    def leave(self, cause: FaceCloakError | None = None) -> None:
        """Stops following; the last subscriber to leave cancels the job. May be called any number of times."""
        with self._job.changed:
            self._job.subscribers.discard(self)
            self._left = self._left or cause or CallCancelled("the call was cancelled")
            if not self._job.subscribers:
                self._job.cancel(self._left)
            self._job.changed.notify_all()

    def _has_news(self) -> bool:
        return bool(self._events) or self._job.done or self._left is not None
