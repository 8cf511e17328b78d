"""What an enrollment would be told, without one: photos are looked at, and nothing is learned or written.

No recognizer is asked, so whether several photos show one person is not known before the enrollment itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from enroll_service.jobs.request import EnrollmentRequest
from enroll_service.pipeline.intake.selection import PhotoSelection
from facecloak.call_context import deadline, interrupted_by
from facecloak_rpc.errors import CallCancelled, Overloaded

CheckPhotos = Callable[[EnrollmentRequest, Callable[[], bool]], PhotoSelection]
"""The photos' portraits (request, cancelled); raises what the enrollment would."""

_WAIT_SECONDS = 30.0
_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Validation:
    """What an enrollment of these photos would begin with.

    Attributes:
        photo_count: photos that would be learned from.
        left_out: index of each that would be left out, from 0, with the reason.
        warnings: a sentence for each of those, and for each doubt about the others.
    """

    photo_count: int
    left_out: tuple[tuple[int, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, selection: PhotoSelection) -> Validation:
        """What was found."""
        doubts = [doubt for portrait in selection.portraits for doubt in portrait.doubts]
        return cls(
            photo_count=len(selection.portraits),
            left_out=tuple((one.photo, one.reason) for one in selection.left_out),
            warnings=(*(one.warning for one in selection.left_out), *dict.fromkeys(doubts)),
        )


class PhotoChecks:
    """Looks at requests' photos, so many at a time: each costs the time of finding its faces."""

    def __init__(self, check: CheckPhotos, *, places: int) -> None:
        self._check = check
        self._places = threading.BoundedSemaphore(places)

    def look(self, request: EnrollmentRequest, *, cancelled: Callable[[], bool]) -> Validation:
        """Waits for a place, and looks.

        Raises:
            Overloaded: no place was free for half a minute, or until the call's deadline.
            CallCancelled: nobody waits any more.
        """

        def require_wanted() -> None:
            if cancelled():
                raise CallCancelled("the call was cancelled")

        self._take_place(require_wanted)
        try:
            with interrupted_by(require_wanted):
                return Validation.of(self._check(request, cancelled))
        finally:
            self._places.release()

    def _take_place(self, require_wanted: Callable[[], None]) -> None:
        ends = min(time.monotonic() + _WAIT_SECONDS, deadline.get() or float("inf"))
        while not self._places.acquire(timeout=_LOOK_SECONDS):
            require_wanted()
            if time.monotonic() > ends:
                raise Overloaded("too many photos are being looked at", retry_after_seconds="2.0")
