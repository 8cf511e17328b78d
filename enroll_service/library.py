"""Learning a mask from a program: :func:`facecloak.enroll`. In this process, without gRPC and without a store."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enroll_service.pipeline.intake.photo import EnrollmentPhoto, check_photo_count
from facecloak.errors import InvalidInput
from facecloak.extras import naming_the_extra
from facecloak.models.repository import default_folder
from facecloak.photos import read_photo

if TYPE_CHECKING:
    from enroll_service.pipeline import PipelineSettings, Progress
    from facecloak.faces import Box
    from facecloak.masks.bank import StoredMask

PhotoSource = bytes | str | os.PathLike[str] | EnrollmentPhoto


def enroll(
    photos: PhotoSource | Sequence[PhotoSource],
    *,
    face: Box | None = None,
    strength: str | None = None,
    kind: str | None = None,
    settings: PipelineSettings | None = None,
    seed: int | None = None,
    earlier: StoredMask | None = None,
    leave_out_unfit: bool = False,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    model_repository: Path | str | None = None,
    threads: int = 0,
) -> StoredMask:
    """Learn a person's mask from 1 to 16 photos. Half a minute to a minute and a half on two CPU cores.

    Recognizers are opened each time, which takes a second: for many people keep an
    :class:`enroll_service.pipeline.enroller.Enroller`. The mask is a secret: who has it can take it off a photo.

    Args:
        photos: JPEG, PNG or WebP (HEIC and AVIF where the settings' ``intake`` has them), as bytes or paths; each shows
            the person and nobody else of like size.
        face: which face it is, px of the upright photo, where one photo shows several people. For several photos, give
            each as an :class:`~enroll_service.pipeline.intake.photo.EnrollmentPhoto` with its own.
        strength: how visible the mask may be, by the names of
            :class:`~enroll_service.pipeline.recipe.Strength`; by default the settings'.
        kind: "full" paints and displaces, "paint" only paints; by default the settings'.
        settings: everything else that decides what a mask looks like, the recipe included.
        seed: for a measurement or a test: the same photos, settings and seed give the same mask. None: a fresh one.
        earlier: the person's mask from photos that are gone, to be refined with these.
        leave_out_unfit: leave out photos that do not qualify, as long as one is left; the mask's report names them.
        progress: told the state at least once an iteration, from this thread.
        cancelled: asked at least once an iteration; once true, EnrollmentCancelled is raised.
        model_repository: the folder of models; by default that of the command line.
        threads: CPU threads that a recognizer uses; 0 is one a core.

    Returns:
        A mask, or a bank of several where the settings ask for it.

    Raises:
        EnrollmentRefused: a photo does not qualify; its subclasses say why.
        PhotoRefused: a file that is no photo, or one beyond the limits.
        RecognizerUnknown, FinderModelMissing: run ``facecloak models pull``.
        ModuleNotFoundError: the extra ``enroll`` is not installed; the error says so.
    """
    with naming_the_extra():
        from enroll_service.pipeline import MaskKind, PipelineSettings, Strength
        from enroll_service.pipeline.enroller import Enroller
        from facecloak.faces import FaceFinder
        from facecloak.recognizers import OnnxRuntime

    given = [photos] if isinstance(photos, bytes | str | os.PathLike | EnrollmentPhoto) else list(photos)
    check_photo_count(len(given))
    if face is not None and len(given) > 1:
        raise InvalidInput("face is for one photo: give several as EnrollmentPhoto", field="face")
    if strength is not None and strength not in list(Strength):
        raise InvalidInput(f"the strength is one of {', '.join(Strength)}", field="strength")
    if kind is not None and kind not in list(MaskKind):
        raise InvalidInput(f"the kind is one of {', '.join(MaskKind)}", field="kind")
    contents = [
        photo if isinstance(photo, EnrollmentPhoto) else EnrollmentPhoto(read_photo(photo), face=face)
        for photo in given
    ]
    settings = settings or PipelineSettings()
    folder = default_folder() if model_repository is None else Path(model_repository)
    runtime = OnnxRuntime(folder, names=settings.recognizers, threads=threads)
    try:
        enroller = Enroller(runtime=runtime, finder=FaceFinder.load(folder), settings=settings)
        return enroller.run(
            contents,
            progress=progress or (lambda _: None),
            cancelled=cancelled or (lambda: False),
            seed=seed,
            strength=None if strength is None else Strength(strength),
            kind=None if kind is None else MaskKind(kind),
            earlier=earlier,
            leave_out_unfit=leave_out_unfit,
        )
    finally:
        runtime.close()
