"""Enrollment as an object: opened once, run as often as there are people. No gRPC, no store."""

from __future__ import annotations

import importlib.metadata
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType

import facecloak
from enroll_service.pipeline.context import RunContext
from enroll_service.pipeline.errors import EnrollmentCancelled
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.selection import PhotoSelection, select_photos
from enroll_service.pipeline.perturb.anchors import AnchorPool
from enroll_service.pipeline.progress import Progress, Stage
from enroll_service.pipeline.run import geometry_for, run
from enroll_service.pipeline.settings import PipelineSettings
from enroll_service.pipeline.strengths import MaskKind, Strength
from enroll_service.pipeline.synthesize.elastic import Synthesizer
from enroll_service.pipeline.synthesize.face_morphing import FacePool, Morphing
from enroll_service.pipeline.synthesize.factory import build_synthesizer
from facecloak.call_context import StepObserver, interrupted_by, unobserved
from facecloak.faces import FaceFinder
from facecloak.masks.bank import StoredMask
from facecloak.recognizers import RecognizerRuntime

_SEED_BITS = 63


class Enroller:
    """Makes masks. Holds no state between runs; several runs may go on at once.

    Args:
        runtime: where the recognizers run; closed with this object.
        finder: finds the faces.
        settings: everything that shapes the mask.
        synthesizer: stage one; by default the one that the settings name.
        observer: told of each stage of each run.

    Raises:
        RecognizerUnknown: a recognizer of the settings is not served by ``runtime``.
        SynthesizerUnavailable: the settings' synthesizer cannot be had here.
        FacePoolUnusable: ``settings.face_pool`` names a pool that cannot be used.
        AnchorPoolUnusable: ``settings.anchors`` names a pool that cannot be used.
    """

    def __init__(
        self,
        *,
        runtime: RecognizerRuntime,
        finder: FaceFinder,
        settings: PipelineSettings,
        synthesizer: Synthesizer | None = None,
        observer: StepObserver = unobserved,
    ) -> None:
        self._runtime = runtime
        self._finder = finder
        self._settings = settings
        self._observer = observer
        self._synthesizer = synthesizer or build_synthesizer(settings, runtime=runtime, finder=finder)
        self._morphing = _morphing(settings)
        self._anchor_pool = AnchorPool.load(Path(settings.anchors)) if settings.anchors else None
        for name in settings.recognizers:
            runtime.spec(name)
        for name in settings.surrogates:
            if self._anchor_pool is not None:
                self._anchor_pool.center(name, runtime=runtime)

    def run(
        self,
        photos: Sequence[EnrollmentPhoto],
        *,
        progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        seed: int | None = None,
        strength: Strength | None = None,
        kind: MaskKind | None = None,
        earlier: StoredMask | None = None,
        leave_out_unfit: bool = False,
    ) -> StoredMask:
        """Learn one mask, or a bank of them, from 1 to 16 photos of one person.

        Args:
            progress: told the state, from this thread, at least once an iteration.
            cancelled: asked at least once an iteration.
            seed: of every random choice, for a measurement or a test: the same photos, settings and seed give the same
                mask. None: a fresh one from the operating system, so that nobody can make the mask again.
            strength: in place of the settings' strength, and of the recipe's similarity where it has one.
            kind: in place of the settings' kind.
            earlier: the person's mask from photos that are gone, to be refined with these.
            leave_out_unfit: leave out photos that do not qualify, as long as one is left; the report names them.

        Raises:
            MaskNotRefinable: ``earlier`` lies in another frame than what is learned from these photos.
            EnrollmentRefused: a photo does not qualify (its subclasses say why).
            EnrollmentCancelled: ``cancelled`` returned True; asked every 50 ms, too, while a photo is decoded.
            PhotoError: a photo cannot be decoded.
            RecognizerFailed: a recognizer gave up.
        """
        check = _checker(cancelled)
        with interrupted_by(check), _ObservedStages(self._observer) as stages:

            def tell(stage: Stage, fraction: float, detail: str) -> None:
                check()
                stages.at(stage)
                progress(Progress(stage, fraction, detail))

            context = RunContext(
                settings=self._settings.of(strength=strength, kind=kind),
                runtime=self._runtime,
                finder=self._finder,
                synthesizer=self._synthesizer,
                morphing=self._morphing,
                anchor_pool=self._anchor_pool,
                versions=self._versions(),
                seed=secrets.randbits(_SEED_BITS) if seed is None else seed,
                earlier=earlier,
                tell=tell,
            )
            return run(photos, context, leave_out_unfit=leave_out_unfit)

    def check(
        self,
        photos: Iterable[EnrollmentPhoto],
        *,
        cancelled: Callable[[], bool],
        earlier: StoredMask | None = None,
        leave_out_unfit: bool = False,
    ) -> PhotoSelection:
        """What :meth:`run` would learn from, without any recognizer: whether the photos show one person stays open.

        Raises:
            MaskNotRefinable, EnrollmentRefused, EnrollmentCancelled, PhotoError: see :meth:`run`.
        """
        check = _checker(cancelled)

        def each() -> Iterator[EnrollmentPhoto]:
            for photo in photos:
                check()
                yield photo

        with interrupted_by(check):
            selection = select_photos(
                each(),
                leave_out_unfit=leave_out_unfit,
                finder=self._finder,
                runtime=self._runtime,
                surrogates=(),
                settings=self._settings.intake,
            )
        geometry_for(selection.portraits, self._settings, earlier=earlier)
        return selection

    def probe(self) -> None:
        """Runs every recognizer once: a server may call a recognizer ready that does not run."""
        for name in self._settings.recognizers:
            self._runtime.probe(name, gradient=name in self._settings.surrogates)

    def close(self) -> None:
        """Frees the recognizers."""
        self._runtime.close()

    def _versions(self) -> dict[str, str]:
        recognizers = {
            f"recognizer.{name}": self._runtime.spec(name).model_sha256 for name in self._settings.recognizers
        }
        return {
            "facecloak": facecloak.__version__,
            "torch": importlib.metadata.version("torch"),
            "finder": self._finder.identity,
            "recipe": self._settings.recipe.identity,
            "synthesizer": self._synthesizer.identity,
            **({} if self._morphing is None else {"faces": self._morphing.pool.identity}),
            **recognizers,
        }


def _checker(cancelled: Callable[[], bool]) -> Callable[[], None]:
    def check() -> None:
        if cancelled():
            raise EnrollmentCancelled("The enrollment was cancelled.")

    return check


def _morphing(settings: PipelineSettings) -> Morphing | None:
    """How variations are morphed with other faces; None where the recipe wants none."""
    synthesis = settings.recipe.synthesis
    if not synthesis.morphed or not synthesis.morph:
        return None
    pool = FacePool.load(Path(settings.face_pool) if settings.face_pool else None)
    return Morphing(pool, share=synthesis.morphed, most=synthesis.morph)


class _ObservedStages:
    """Tells an observer of each stage, from its first progress to the next one's; all in the thread of the work."""

    def __init__(self, observer: StepObserver) -> None:
        self._observer = observer
        self._stage: Stage | None = None
        self._open = ExitStack()

    def __enter__(self) -> _ObservedStages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)

    def at(self, stage: Stage) -> None:
        """The work is in ``stage`` now."""
        if stage is not self._stage:
            self._open.close()
            observed: AbstractContextManager[object] = self._observer(stage.value)
            self._open.enter_context(observed)
            self._stage = stage
