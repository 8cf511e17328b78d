"""Stage one by Arc2Face: pictures drawn from the embedding, each held to what a photo is held to, then varied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from enroll_service.pipeline.errors import EnrollmentRefused, SynthesisFailed, SynthesizerUnavailable
from enroll_service.pipeline.intake.portrait import Portrait, portrait_of
from enroll_service.pipeline.ops.similarity_scale import TYPICAL_SIMILARITY, sameness, unit
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.report import SynthesisReport
from enroll_service.pipeline.settings import PipelineSettings
from enroll_service.pipeline.synthesize.arc2face.painter import part_of
from enroll_service.pipeline.synthesize.arc2face.weights import IDENTITY_SIZE, LICENSE
from enroll_service.pipeline.synthesize.elastic import Synthesizer
from facecloak.faces import FaceFinder
from facecloak.recognizers import RecognizerRuntime

# The share of stage one's time that drawing takes; the rest is varying what was drawn.
_DRAWING_SHARE = 0.98


class PictureSource(Protocol):
    """What draws; see :class:`~enroll_service.pipeline.synthesize.arc2face.painter.Painter`."""

    identity: str

    def draw(
        self, identity: np.ndarray, *, seeds: Sequence[int], checkpoint: Callable[[float], None]
    ) -> list[np.ndarray | None]: ...


class Arc2FaceSynthesizer:
    """Draws pictures of the person until enough show that person, then varies photos and pictures together.

    A picture is kept if it passes intake as a photo would and the surrogates see the person in it; others are drawn
    again, a bounded number of times. The surrogates judge, not the recognizer that the pictures were drawn from: a
    picture made to match it would pass too easily.

    Args:
        painter: draws.
        variety: varies photos and kept pictures alike.
        runtime: serves the surrogates and ``settings.arc2face.recognizer``.

    Raises:
        SynthesizerUnavailable: no recognizer is named, or its embedding is not the 512 numbers that Arc2Face takes.
        RecognizerUnknown: ``runtime`` does not serve it.
    """

    def __init__(
        self,
        painter: PictureSource,
        *,
        variety: Synthesizer,
        runtime: RecognizerRuntime,
        finder: FaceFinder,
        settings: PipelineSettings,
    ) -> None:
        name = settings.arc2face.recognizer
        if not name:
            raise SynthesizerUnavailable(
                "The setting arc2face.recognizer names no recognizer.", setting="arc2face.recognizer"
            )
        size = runtime.spec(name).embedding_size
        if size != IDENTITY_SIZE:
            raise SynthesizerUnavailable(
                f"Arc2Face takes embeddings of {IDENTITY_SIZE}, and {name}'s have {size}.", recognizer=name
            )
        self._painter, self._variety = painter, variety
        self._runtime, self._finder, self._settings = runtime, finder, settings
        self.identity = f"{painter.identity}+{name}+{variety.identity}"

    def synthesize(
        self, portraits: Sequence[Portrait], *, count: int, seed: int, checkpoint: Callable[[float], None]
    ) -> Variations:
        """See :meth:`Synthesizer.synthesize`.

        Raises:
            SynthesisFailed: not one of the pictures drawn shows the person.
        """
        wanted = -(-count // self._settings.recipe.arc2face.repeats)
        drawn, kept, rejected = self._pictures(portraits, wanted=wanted, seed=seed, checkpoint=checkpoint)
        varied = self._variety.synthesize([*portraits, *kept], count=count, seed=seed, checkpoint=lambda _: None)
        record = SynthesisReport(
            pictures=varied.record.pictures,
            pictures_drawn=drawn,
            pictures_rejected=sum(rejected.values()),
            rejected_because=dict(sorted(rejected.items())),
            recognizer=self._settings.arc2face.recognizer,
            license=LICENSE,
        )
        warnings = []
        if len(kept) < wanted:
            warnings.append(
                f"Only {len(kept)} of {wanted} generated pictures show the person; variations of the photos stand in."
            )
        return Variations(varied.crops, varied.grids, record=record, warnings=(*varied.warnings, *warnings))

    def _pictures(
        self, portraits: Sequence[Portrait], *, wanted: int, seed: int, checkpoint: Callable[[float], None]
    ) -> tuple[int, list[Portrait], Counter[str]]:
        """How many were drawn, those kept, and the others by reason."""
        settings, recipe = self._settings.arc2face, self._settings.recipe.arc2face
        photos = np.concatenate([portrait.crop for portrait in portraits])
        identity = unit(self._runtime.embed(settings.recognizer, photos).mean(axis=0))
        kept: list[Portrait] = []
        rejected: Counter[str] = Counter()
        drawn, limit = 0, wanted + recipe.redraws
        drawing = part_of(checkpoint, 0.0, _DRAWING_SHARE, 1.0)
        while len(kept) < wanted and drawn < limit:
            asked = min(wanted - len(kept), limit - drawn)
            pictures = self._painter.draw(
                identity,
                seeds=[_seed(seed, index) for index in range(drawn, drawn + asked)],
                checkpoint=part_of(drawing, drawn, asked, limit),
            )
            drawn += asked
            faces = [face for face in (self._face(picture, rejected) for picture in pictures) if face is not None]
            for face, score in zip(faces, self._scores(faces, photos), strict=True):
                if score >= recipe.similarity_floor:
                    kept.append(face)
                else:
                    rejected["another_person"] += 1
        if not kept:
            raise SynthesisFailed(
                "None of the generated pictures shows the person: the weights may not fit the recognizer.",
                drawn=drawn,
                **rejected,
            )
        return drawn, kept, rejected

    def _face(self, picture: np.ndarray | None, rejected: Counter[str]) -> Portrait | None:
        """What intake makes of a picture; None, and the reason counted, where it would refuse a photo."""
        if picture is None:
            rejected["withheld"] += 1
            return None
        try:
            return portrait_of(picture, index=0, finder=self._finder, settings=self._settings.intake)
        except EnrollmentRefused as refused:
            rejected[refused.reason.lower()] += 1
            return None

    def _scores(self, faces: Sequence[Portrait], photos: np.ndarray) -> np.ndarray:
        """How much each face is the photos' person, (K,): 0 another one, 1 the same."""
        crops = np.concatenate([photos, *(face.crop for face in faces)])
        known = tuple(name for name in self._settings.surrogates if name in TYPICAL_SIMILARITY)
        judges = known or (self._settings.arc2face.recognizer,)
        return sameness(crops, runtime=self._runtime, names=judges)[len(photos) :, : len(photos)].mean(axis=1)


def _seed(seed: int, index: int) -> int:
    """The seed of one picture of an enrollment, 0 .. 2**63 - 1."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)
