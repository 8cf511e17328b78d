"""The enrollments that wait: how many may, and whose turn it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator

from enroll_service.jobs.job import Job
from facecloak.users import User
from facecloak_rpc.caller_limits import CallerLimits, ShareExceeded
from facecloak_rpc.errors import Overloaded
from facecloak_rpc.identity import Caller


class FairQueue:
    """Waiting jobs, at most ``limit``, ``user_limit`` of one user. Call it with the queue's lock held.

    Fair between users: a job queues up when it arrives, but behind everybody again when an earlier one of its own user
    starts; so a user with many orders holds another up by one at most, and nobody waits for ever. Fair between callers
    alike, where they have proven who they are: one that names many users gets no more turns by it.
    """

    def __init__(self, *, limit: int, user_limit: int, limits: CallerLimits | None = None) -> None:
        """``limits``: which part of the places is a caller's and a tenant's; by default all is everybody's."""
        self._limits = limits
        self._limit = limit
        self._user_limit = user_limit
        self._jobs: list[Job] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def add(self, job: Job, *, place_seconds: float, job_seconds: float) -> None:
        """Lets a job wait. Arguments and errors: see :meth:`require_place`."""
        self.require_place(job.user, job.caller, place_seconds=place_seconds, job_seconds=job_seconds)
        job.turn = next(self._numbers)
        self._jobs.append(job)

    def require_place(self, user: User, caller: Caller, *, place_seconds: float, job_seconds: float) -> None:
        """Whether a job of this user and caller may wait.

        Args:
            place_seconds: usual time until a place is free, for who is refused.
            job_seconds: usual time of one job.

        Raises:
            Overloaded: too many wait, all in all or of this user; says when to come back.
            ShareExceeded: too many of this caller or of its tenant.
        """
        self._check_shares(caller, retry_seconds=max(place_seconds, job_seconds))
        if len(self._jobs) >= self._limit:
            raise Overloaded(
                "too many enrollments are waiting",
                queue_limit=self._limit,
                retry_after_seconds=f"{place_seconds:.1f}",
            )
        if sum(other.user == user for other in self._jobs) >= self._user_limit:
            raise Overloaded(
                "too many enrollments of this user are waiting",
                user_queue_limit=self._user_limit,
                retry_after_seconds=f"{max(place_seconds, job_seconds):.1f}",
            )

    def next(self, *, busy: Collection[User]) -> Job | None:
        """The job whose turn it is; None while there is none but of ``busy`` users."""
        free = (job for job in self._jobs if job.user not in busy)
        return min(free, key=lambda job: job.turn, default=None)

    def take(self, job: Job) -> None:
        """A waiting job starts."""
        self._jobs.remove(job)
        waiting = sorted(self._jobs, key=lambda one: one.turn)
        if job.caller.is_known:
            for later in waiting:
                if later.caller.key == job.caller.key:
                    later.turn = next(self._numbers)
        for later in waiting:
            if later.user == job.user:
                later.turn = next(self._numbers)

    def _check_shares(self, caller: Caller, *, retry_seconds: float) -> None:
        if self._limits is None or not caller.is_known:
            return
        own = sum(other.caller.key == caller.key for other in self._jobs)
        tenants = sum(other.caller.tenant == caller.tenant for other in self._jobs)
        for whose, count, limit in (
            ("caller", own, self._limits.caller_places(caller, self._limit)),
            ("tenant", tenants, self._limits.tenant_places(caller, self._limit)),
        ):
            if count >= limit:
                raise ShareExceeded(
                    f"too many enrollments of this {whose} are waiting",
                    limit=limit,
                    retry_after_seconds=f"{retry_seconds:.1f}",
                )

    def drop(self, unwanted: Callable[[Job], bool]) -> None:
        """Jobs that wait no longer."""
        self._jobs = [job for job in self._jobs if not unwanted(job)]
