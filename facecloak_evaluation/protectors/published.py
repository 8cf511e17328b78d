"""The published algorithm in the services' place, for `facecloak evaluate --compare reference`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enroll_service.pipeline import PipelineSettings
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from facecloak.cloaking.cloaker import Cloaker, MasksInMemory, Subject
from facecloak.faces import Box, FaceFinder
from facecloak.masks.mask import Mask
from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak_evaluation import published_algorithm
from facecloak_evaluation.protocol import CloakedPhoto, EnrollmentCost
from facecloak_evaluation.surrogate_guard import RecognizerIdentity


class ReferenceProtector:
    """Learns by :mod:`facecloak_evaluation.published_algorithm` against one surrogate and cloaks as ApplyCloak does.

    Args:
        model_repository: where recognizers and finders are.
        surrogate: the one recognizer that is learned against; the published code uses an ArcFace.
        settings: for intake and variations; the rest is published.
        seed: of variations and steps.
        strangers: aligned crops (N, 3, 112, 112) float32 of other people, out of whom far and near identities come.
    """

    def __init__(
        self, *, model_repository: Path, surrogate: str, settings: PipelineSettings, seed: int, strangers: np.ndarray
    ) -> None:
        self._runtime = OnnxRuntime(model_repository, names=[surrogate], threads=1)
        self._surrogate = surrogate
        self._settings = settings
        self._seed = seed
        self._finder = FaceFinder.load(model_repository, threads=1)
        self._others = self._runtime.embed(surrogate, strangers)
        self._masks: dict[str, Mask] = {}
        self._cloaker = Cloaker(self._finder, MasksInMemory(self._masks))

    def surrogates(self) -> tuple[RecognizerIdentity, ...]:
        """The one."""
        return (RecognizerIdentity.of(self._runtime.spec(self._surrogate)),)

    def describe(self) -> Mapping[str, Any]:
        """The published settings."""
        return {
            "path": "the published algorithm restated, delivered by our Cloaker",
            "settings": {
                "passes": published_algorithm.PASSES,
                "images": 1 + published_algorithm.VARIATIONS,
                "step_levels": published_algorithm.STEP_LEVELS,
                "learned_levels": published_algorithm.LEARNED_LEVELS,
                "applied_levels": published_algorithm.APPLIED_LEVELS,
                "patch_levels": published_algorithm.PATCH_LEVELS,
                "identities": len(self._others),
            },
            "finder": self._finder.identity,
        }

    def enroll(self, user: str, photos: Sequence[EnrollmentPhoto]) -> EnrollmentCost:
        """From the first photo: the published algorithm takes one. Raises EnrollmentRefused."""
        from enroll_service.pipeline.intake.portrait import portrait_from
        from enroll_service.pipeline.ops.similarity_scale import as_crops
        from enroll_service.pipeline.perturb.targets import own_identity
        from enroll_service.pipeline.synthesize.elastic import ElasticSynthesizer

        began, cpu_began = time.perf_counter(), time.thread_time()
        portrait = portrait_from(photos[0], index=0, finder=self._finder, settings=self._settings.intake)
        synthesizer = ElasticSynthesizer(self._settings.recipe.synthesis)
        variations = synthesizer.synthesize(
            [portrait], count=published_algorithm.VARIATIONS, seed=self._seed, checkpoint=lambda done: None
        )
        far, near = published_algorithm.far_and_near(
            own_identity(self._runtime, self._surrogate, portrait.crop), self._others
        )
        pixels = published_algorithm.reference_pixels(
            np.concatenate([portrait.crop, as_crops(variations.crops)]),
            runtime=self._runtime,
            surrogate=self._surrogate,
            far=far,
            near=near,
            seed=self._seed,
        )
        self._masks[user] = Mask.new(pixels, seed=self._seed)
        return EnrollmentCost(seconds=time.perf_counter() - began, cpu_seconds=time.thread_time() - cpu_began)

    def cloak(self, user: str, photo: bytes, box: Box) -> CloakedPhoto:
        """As ApplyCloak does for one subject with a box hint."""
        result = self._cloaker.cloak(photo, [Subject(user_id=user, box=box)])
        return CloakedPhoto(photo=result.photo, outcome=result.subjects[0].outcome.value)

    def close(self) -> None:
        """Frees the recognizer."""
        self._runtime.close()


def surrogate_for(evaluators: Sequence[str], *, known: Sequence[str]) -> str:
    """The recognizer that the published algorithm learns against where `evaluators` evaluate: fr_feature, the one of
    ArcFace's kind, if it is no evaluator, and otherwise the first that is none.

    Raises:
        ValueError: all of `known` are evaluators.
    """
    free = [name for name in known if name not in evaluators]
    if not free:
        raise ValueError("every surrogate is an evaluator")
    return _PUBLISHED_KIND if _PUBLISHED_KIND in free else free[0]


_PUBLISHED_KIND = "fr_feature"
