"""What a studio holds while its page is open: one person, their masks, and how far learning is. In memory only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from enroll_service.pipeline import PipelineSettings, Progress, Strength
from facecloak.cloaking.cloaker import Cloaker, CloakResult, MasksInMemory, Subject
from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput
from facecloak.faces import FaceFinder
from facecloak.masks.bank import StoredMask
from facecloak_studio.comparison import Observer, Reading

_USER = "studio"


class StudioBusy(FaceCloakError):
    """A mask is being learned; one is at a time."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "STUDIO_BUSY"


class NobodyEnrolled(FaceCloakError):
    """Photos are cloaked once a mask was learned."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "NOBODY_ENROLLED"


@dataclass(frozen=True)
class StudioState:
    """How far the studio is.

    Attributes:
        phase: "empty", "learning", "ready" or "failed".
        fraction: 0..1 of learning, all strengths together.
        detail: a remark for a person; the error's sentence where it failed.
        strengths: those whose masks are there.
        left_out: the recognizer that had no part in learning; "" where all had.
    """

    phase: str = "empty"
    fraction: float = 0.0
    detail: str = ""
    strengths: tuple[str, ...] = ()
    left_out: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "phase": self.phase, "fraction": round(self.fraction, 4), "detail": self.detail,
            "strengths": list(self.strengths), "left_out": self.left_out,
        }  # fmt: skip


@dataclass(frozen=True)
class LookedAtPhoto:
    """A photo cloaked at one strength."""

    strength: str
    result: CloakResult


@dataclass
class _Person:
    """Who is enrolled: what recognizers make of the photo, and masks by strength."""

    photo: bytes
    reading: Reading
    masks: dict[str, StoredMask] = field(default_factory=dict)


class StudioSession:
    """One person at a time. Thread safe; nothing of a person is ever written to disk."""

    def __init__(self, settings: PipelineSettings, model_repository: Path) -> None:
        """Opens the recognizers. Raises FaceCloakError where a model is missing."""
        self._settings = settings
        self._repository = model_repository
        self.observer = Observer(model_repository)
        self._finder = FaceFinder.load(model_repository)
        self._lock = threading.Lock()
        # Recognizers run one photo at a time.
        self._looking = threading.Lock()
        self._state = StudioState()
        self._person: _Person | None = None
        self._cancelled = threading.Event()

    @property
    def surrogates(self) -> tuple[str, ...]:
        """Recognizers that a mask is learned against unless one is left out."""
        return self._settings.surrogates

    @property
    def unseen(self) -> list[str]:
        """Recognizers that had no part in learning the present masks."""
        left_out = self.state.left_out
        return [name for name in self.observer.recognizers if name == left_out or name not in self.surrogates]

    @property
    def state(self) -> StudioState:
        """How far it is."""
        with self._lock:
            return self._state

    @property
    def person(self) -> Reading:
        """The enrolled photo as recognizers see it. Raises NobodyEnrolled."""
        return self._enrolled().reading

    def begin(self, photo: bytes, *, strengths: Sequence[str], left_out: str) -> None:
        """Learns masks of the person in ``photo``, in the background, and forgets who was there before.

        Raises:
            StudioBusy: it is learning already.
            FaceCloakError: a strength or a recognizer that there is none of, or a photo that is refused at once.
        """
        chosen = [Strength(name) for name in strengths if name in list(Strength)]
        if not chosen or len(chosen) != len(strengths) or (left_out and left_out not in self.surrogates):
            raise InvalidInput("Choose a strength, and a recognizer to leave out or none.")
        with self._lock:
            if self._state.phase == "learning":
                raise StudioBusy("A mask is being learned: wait, or forget it.")
            self._person = None
            self._cancelled = threading.Event()
            self._state = StudioState("learning", detail="reading the photo", left_out=left_out)
        arguments = (photo, chosen, left_out, self._cancelled)
        threading.Thread(target=self._learn, args=arguments, daemon=True).start()

    def forget(self) -> None:
        """Stops learning, and lets go of the person."""
        with self._lock:
            self._cancelled.set()
            self._person, self._state = None, StudioState()

    def cloak(self, photo: bytes) -> tuple[Reading, list[LookedAtPhoto]]:
        """A photo as it was, and cloaked at each strength whose mask is there.

        Raises:
            NobodyEnrolled, PhotoRefused.
        """
        person = self._enrolled()
        with self._looking:
            original = self.observer.read(photo, like=person.reading.embeddings)
            box = original.face.box if original.face else None
            looked = [
                LookedAtPhoto(strength, self._cloaker(mask).cloak(photo, [Subject(_USER, box=box)]))
                for strength, mask in person.masks.items()
            ]
        return original, looked

    def looking(self) -> threading.Lock:
        """Held while recognizers are used from outside."""
        return self._looking

    def close(self) -> None:
        """Forgets, and lets the recognizers go."""
        self.forget()
        self.observer.close()

    def _cloaker(self, mask: StoredMask) -> Cloaker:
        return Cloaker(self._finder, MasksInMemory({_USER: mask}))

    def _enrolled(self) -> _Person:
        with self._lock:
            if self._person is None or not self._person.masks:
                raise NobodyEnrolled("Enroll a photo first.")
            return self._person

    def _learn(self, photo: bytes, strengths: list[Strength], left_out: str, cancelled: threading.Event) -> None:
        from enroll_service.library import enroll

        surrogates = tuple(name for name in self.surrogates if name != left_out)
        settings = self._settings.model_copy(update={"surrogates": surrogates})
        try:
            with self._looking:
                reading = self.observer.read(photo)
            person = _Person(photo, reading)
            for index, strength in enumerate(strengths):
                person.masks[strength.value] = enroll(
                    photo,
                    strength=strength.value,
                    settings=settings,
                    model_repository=self._repository,
                    progress=self._progress(strength.value, index, len(strengths), cancelled),
                    cancelled=cancelled.is_set,
                )
            self._set(cancelled, StudioState("ready", 1.0, "", tuple(person.masks), left_out), person)
        except FaceCloakError as error:
            self._set(cancelled, StudioState("failed", detail=error.public_message))
        except Exception as error:
            self._set(cancelled, StudioState("failed", detail=f"It failed ({type(error).__name__}): see the terminal."))
            raise

    def _progress(
        self, strength: str, index: int, count: int, cancelled: threading.Event
    ) -> Callable[[Progress], None]:
        def tell(progress: Progress) -> None:
            said = f"{strength}: {progress.detail or progress.stage.value}"
            with self._lock:
                if not cancelled.is_set():
                    self._state = replace(self._state, fraction=(index + progress.fraction) / count, detail=said)

        return tell

    def _set(self, cancelled: threading.Event, state: StudioState, person: _Person | None = None) -> None:
        with self._lock:
            # Who was forgotten stays forgotten.
            if not cancelled.is_set():
                self._state, self._person = state, person
