"""What stage two works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from enroll_service.pipeline.ops.mask_parts import MaskParts
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.perturb.ensemble import Target
from enroll_service.pipeline.settings import PipelineSettings
from enroll_service.pipeline.synthesize.face_morphing import Morphing
from facecloak.recognizers import RecognizerRuntime


@dataclass(frozen=True, eq=False, repr=False)
class LearningTask:
    """What the masks of one person are learned from.

    Attributes:
        variations: pictures of the person; where they have grids, masks are learned through them.
        shown: the enrolled photos as they are. Visibility is measured on these: variations are relit and blurred, and
            the same mask shows more on them than on photos.
        targets: by surrogate, what every mask leaves.
        runtime: where the surrogates run.
        settings: how visible a mask may be, how many there are, and the recipe.
        seed: of every random choice.
        morphing: morphs each batch with other faces; None for none.
        earlier: the person's masks so far, from photos that are gone: the first of the new ones go on from them.
    """

    variations: Variations
    shown: Variations
    targets: Mapping[str, Target]
    runtime: RecognizerRuntime
    settings: PipelineSettings
    seed: int
    morphing: Morphing | None = None
    earlier: tuple[MaskParts, ...] = ()
