"""Which photos are worked on: so many at once, and no more than fit into a fixed memory once they are decoded."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from apply_service.refusal_room import RefusalRoom
from facecloak.call_context import whole_photo
from facecloak.photos import PhotoTooLarge
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.memory import estimated_first_bytes, estimated_peak_bytes
from facecloak_rpc.budget import Budget
from facecloak_rpc.caller_limits import SharedPlaces
from facecloak_rpc.errors import Overloaded
from facecloak_rpc.identity import ANYBODY, Caller, current_caller

# A photo takes 10 to 100 ms: by then a place is free.
_RETRY_AFTER_SECONDS = 0.5
# Who is told to wait longer than this rather gives up.
_LONGEST_RETRY_SECONDS = 15.0
# The message, the photo in it, what its decoder has of it, and the photo in the answer.
_COPIES = 4
# An answer as Python's bytes, and as gRPC's.
_ANSWER_COPIES = 2
# A line is long that lasts this part of the time that a photo waits: many more, and calls are refused.
_LONG_LINE = 0.25
# How much the last photo's time counts in the mean.
_MEAN_WEIGHT = 0.1


class AdmittedPhoto:
    """The memory of one photo: all of it while it is worked on, then what its answer takes. See
    facecloak_rpc.admission.Admitted.

    ``cost`` is what it takes where the faces alone are decoded, ``whole_cost`` what it takes where all of it is.
    """

    def __init__(self, memory: Budget, cost: int, *, whole_cost: int, wait_seconds: float) -> None:
        self._memory = memory
        self._cost = cost
        self._whole_cost = whole_cost
        self._wait_seconds = wait_seconds
        self._kept = 0

    def is_decoded_whole(self) -> None:
        """Takes the rest of what a photo takes of which all is decoded. For the thread that works on it.

        Raises:
            Overloaded: not within the time.
            PhotoTooLarge: there is never so much.
        """
        more = self._whole_cost - self._cost
        if more <= 0:
            return
        if self._whole_cost > self._memory.total:
            raise _never_fits(self._memory, self._whole_cost)
        if not self._memory.take(more, wait_seconds=self._wait_seconds, adds=True):
            raise Overloaded(
                "too many photos at once", limit="memory", retry_after_seconds=f"{_RETRY_AFTER_SECONDS:.3g}"
            )
        self._cost = self._whole_cost

    def answered(self, answer_bytes: int) -> Callable[[], None]:
        """See facecloak_rpc.admission.Admitted."""
        kept = self._kept = min(_ANSWER_COPIES * answer_bytes, self._cost)
        return lambda: self._memory.give_back(kept)

    def worked(self) -> None:
        """Gives back what the answer does not take."""
        self._memory.give_back(self._cost - self._kept)


class PhotoAdmission:
    """Places for photos, and a memory that they share. See facecloak_rpc.admission."""

    def __init__(
        self,
        *,
        places: int,
        memory_bytes: int,
        wait_seconds: float,
        limits: PhotoLimits,
        shares: SharedPlaces | None = None,
    ) -> None:
        """A photo waits for place and memory for up to ``wait_seconds``. ``shares``: callers' parts of the places; by
        default nobody asks who calls."""
        self._shares = shares
        self._lines: Counter[str] = Counter()
        self._places = Budget(places)
        self._room = RefusalRoom(self._places)
        self._memory = Budget(memory_bytes)
        self._wait_seconds = wait_seconds
        self._limits = limits
        self._lock = threading.Lock()
        self._line = 0
        self._mean_seconds = 0.0
        # From one photo's turn to the next one's.
        self._turn_seconds = 0.0
        # Photos that were refused and told to come back, of those that the time since then is not enough for.
        self._told, self._told_at = 0.0, time.monotonic()

    @property
    def memory_out(self) -> int:
        """Bytes that the photos in work may take."""
        return self._memory.out

    def close(self) -> None:
        """Ends what it runs beside the calls."""
        self._room.close()

    @contextmanager
    def arriving(self, method: str) -> Iterator[None]:
        """A call stands in line. Raises Overloaded, at once, where its turn would come too late."""
        caller = ANYBODY if self._shares is None else current_caller()
        with self._lock:
            self._check_line(caller)
            self._line += 1
            self._lines[caller.key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._line -= 1
                self._lines -= Counter({caller.key: 1})

    def _check_line(self, caller: Caller) -> None:
        """A caller whose own photos are too many for its part of the places makes the line no longer for others."""
        if self._shares is not None and caller.is_known:
            places = self._shares.places(caller)
            expected = self._lines[caller.key] * self._mean_seconds / places
            if expected > self._wait_seconds:
                raise self._shares.exceeded("caller", places, retry_after_seconds=f"{expected:.3g}")
        self._check_time(self._line)

    def refusal(self, waiting: int) -> Overloaded | None:
        """See Admission: refused is one whose turn would come later than a photo waits."""
        if waiting * self._turn_seconds > _LONG_LINE * self._wait_seconds:
            self._room.crowded()
        try:
            self._check_time(waiting)
        except Overloaded as error:
            return error
        return None

    def _check_time(self, waiting: int) -> None:
        each = self._turn_seconds
        if waiting * each > self._wait_seconds:
            raise self._overloaded(self._retry_after(waiting, each))

    def _retry_after(self, waiting: int, each: float) -> float:
        """Seconds after which there is room for one more of those that were refused, ``each`` photo's time given: all
        told the same would come back at once, be refused again, and leave little time for photos."""
        now = time.monotonic()
        self._told = max(0.0, self._told - (now - self._told_at) / each) + 1.0
        self._told_at = now
        self._told = min(self._told, _LONGEST_RETRY_SECONDS / each)
        return min(max((waiting + self._told) * each, _RETRY_AFTER_SECONDS), _LONGEST_RETRY_SECONDS)

    @property
    def is_short(self) -> bool:
        """Whether photos wait for memory."""
        return self._memory.waiting > 0

    @contextmanager
    def admitted(self, method: str, request: Any) -> Iterator[AdmittedPhoto]:
        """A call's photo has its place for the block. Raises as :meth:`place` does."""
        with self.place(request.photo, wait_seconds=self._wait_seconds) as admitted:
            yield admitted

    @contextmanager
    def place(self, photo: bytes, *, wait_seconds: float) -> Iterator[AdmittedPhoto]:
        """The photo has a place, and the memory that it may take, for the block; its answer has memory for as long as
        it is not taken.

        Raises:
            Overloaded: not within the time.
            ShareExceeded: the caller has its part of the places.
            PhotoTooLarge: the photo alone takes more than there is, or is beyond the limits.
        """
        files = _COPIES * len(photo)
        cost = files + estimated_first_bytes(photo, limits=self._limits)
        whole_cost = files + estimated_peak_bytes(photo, limits=self._limits)
        del photo
        if cost > self._memory.total:
            raise _never_fits(self._memory, cost)
        ends = time.monotonic() + wait_seconds
        with self._share(ends=ends), self._taken(self._places, 1, ends=ends):
            self._take(self._memory, cost, ends=ends)
            admitted = AdmittedPhoto(self._memory, cost, whole_cost=whole_cost, wait_seconds=self._wait_seconds)
            before = whole_photo.set(admitted.is_decoded_whole)
            started, at_once = time.monotonic(), self._places.limit
            try:
                yield admitted
            finally:
                # A stream's photo is left by the thread that worked on it, in a copy of the context.
                with suppress(ValueError):
                    whole_photo.reset(before)
                admitted.worked()
                self._took(time.monotonic() - started, at_once=at_once)

    def _share(self, *, ends: float) -> AbstractContextManager[None]:
        if self._shares is None:
            return nullcontext()
        return self._shares.one(current_caller(), wait_seconds=ends - time.monotonic())

    @contextmanager
    def _taken(self, budget: Budget, amount: int, *, ends: float) -> Iterator[None]:
        self._take(budget, amount, ends=ends)
        try:
            yield
        finally:
            budget.give_back(amount)

    def _take(self, budget: Budget, amount: int, *, ends: float) -> None:
        if not budget.take(amount, wait_seconds=ends - time.monotonic()):
            raise self._overloaded(_RETRY_AFTER_SECONDS)

    def _took(self, seconds: float, *, at_once: int) -> None:
        """A photo took so long, beside as many others as there were places for."""
        with self._lock:
            self._mean_seconds += _MEAN_WEIGHT * (seconds - self._mean_seconds)
            self._turn_seconds += _MEAN_WEIGHT * (seconds / at_once - self._turn_seconds)

    def _overloaded(self, retry_after_seconds: float) -> Overloaded:
        return Overloaded(
            "too many photos at once", limit=self._places.total, retry_after_seconds=f"{retry_after_seconds:.3g}"
        )


def _never_fits(memory: Budget, cost: int) -> PhotoTooLarge:
    return PhotoTooLarge(
        "The photo takes more memory than the service has for photos.",
        limit="memory_mebibytes", memory_mebibytes=memory.total // 2**20, needed=-(-cost // 2**20),
    )  # fmt: skip
