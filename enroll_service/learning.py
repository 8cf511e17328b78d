"""Turns orders into masks with the pipeline, and proves that its recognizers answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from enroll_service.jobs import Order, ProgressEvent, Stage
from enroll_service.pipeline import Enroller, Progress
from enroll_service.stages.settings import StageSettings
from facecloak.faces import FaceFinder
from facecloak.mask import Mask
from facecloak.recognizers.runtime import RecognizerRuntime


class Learner:
    """The work of an enrollment job. Thread safe, as its parts are."""

    def __init__(self, *, runtime: RecognizerRuntime, finder: FaceFinder, settings: StageSettings) -> None:
        self._runtime = runtime
        self._settings = settings
        self._enroller = Enroller(runtime=runtime, finder=finder, settings=settings)
        self._warm = False

    def learn(self, order: Order, progress: Callable[[ProgressEvent], None], cancelled: Callable[[], bool]) -> Mask:
        """Learns the order's mask. Raises EnrollmentRefused, EnrollmentCancelled, PhotoRefused."""

        def on_progress(event: Progress) -> None:
            progress(ProgressEvent(Stage(event.stage), event.fraction, event.detail))

        return self._enroller.run(order.photos, progress=on_progress, cancelled=cancelled, seed=order.seed)

    def probe(self) -> None:
        """Runs every surrogate once: a server may call a recognizer ready that does not run.

        The first time it takes the gradients too, so that no enrollment waits for models to load.
        """
        crop = np.full((1, 3, 112, 112), 127.0, np.float32)
        for name in self._settings.surrogates:
            if self._warm:
                self._runtime.embed(name, crop)
                continue
            nothing = np.zeros((1, self._runtime.spec(name).embedding_size), np.float32)
            self._runtime.gradient(name, crop, far=nothing, near=nothing)
        self._warm = True

    def close(self) -> None:
        """Frees the recognizers."""
        self._runtime.close()
