"""FairQueue requests into masks with the pipeline, and proves that its recognizers answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from enroll_service.jobs.request import EnrollmentRequest, ProgressEvent, Stage
from enroll_service.pipeline.enroller import Enroller, Progress
from enroll_service.pipeline.settings import StageSettings
from facecloak.call_context import StepObserver, unobserved
from facecloak.faces import FaceFinder
from facecloak.masks.bank import StoredMask
from facecloak.recognizers.runtime import RecognizerRuntime


class Learner:
    """The work of an enrollment job. Thread safe, as its parts are."""

    def __init__(
        self,
        *,
        runtime: RecognizerRuntime,
        finder: FaceFinder,
        settings: StageSettings,
        observer: StepObserver = unobserved,
    ) -> None:
        """``observer`` is told of the pipeline's stages."""
        self._runtime = runtime
        self._settings = settings
        self._observer = observer
        self._enroller = Enroller(runtime=runtime, finder=finder, settings=settings)

    def learn(
        self, request: EnrollmentRequest, progress: Callable[[ProgressEvent], None], cancelled: Callable[[], bool]
    ) -> StoredMask:
        """Learns the request's mask. Raises EnrollmentRefused, MaskNotRefinable, EnrollmentCancelled, PhotoRefused."""
        with _Stages(self._observer) as stages:

            def on_progress(event: Progress) -> None:
                stages.at(event.stage)
                progress(ProgressEvent(Stage(event.stage), event.fraction, event.detail))

            return self._enroller.run(
                request.photos,
                progress=on_progress,
                cancelled=cancelled,
                seed=request.seed,
                strength=request.strength,
                earlier=request.earlier,
                leave_out_unfit=request.leave_out_unfit,
            )

    def probe(self) -> None:
        """Runs every recognizer once: a server may call a recognizer ready that does not run."""
        for name in self._settings.recognizers:
            self._runtime.probe(name, gradient=name in self._settings.surrogates)

    def close(self) -> None:
        """Frees the recognizers."""
        self._runtime.close()


class _Stages:
    """Watches each stage from its first progress to the next one's; all in the thread of the work."""

    def __init__(self, observer: StepObserver) -> None:
        self._observer = observer
        self._stage = ""
        self._open = ExitStack()

    def __enter__(self) -> _Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)

    def at(self, stage: str) -> None:
        """The work is in ``stage`` now."""
        if stage != self._stage:
            self._open.close()
            self._open.enter_context(self._observer(stage))
            self._stage = stage
