"""What the stages of one enrollment share, and what they hand on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from enroll_service.pipeline.intake.portrait import Portrait
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.perturb.anchors import AnchorPool
from enroll_service.pipeline.perturb.ensemble import Target
from enroll_service.pipeline.progress import Stage
from enroll_service.pipeline.settings import PipelineSettings
from enroll_service.pipeline.synthesize.elastic import Synthesizer
from enroll_service.pipeline.synthesize.face_morphing import Morphing
from facecloak.faces import FaceFinder
from facecloak.masks.bank import StoredMask
from facecloak.masks.mask import MaskGeometry
from facecloak.recognizers import RecognizerRuntime

# Where each stage begins on the scale of Progress.fraction: shares of the time that an enrollment takes on two cores.
_BEGINS = {Stage.SYNTHESIZE: 0.02, Stage.PERTURB: 0.25, Stage.PERSONALIZE: 0.95}
_ENDS = {Stage.SYNTHESIZE: 0.25, Stage.PERTURB: 0.95, Stage.PERSONALIZE: 1.0}


@dataclass(frozen=True, eq=False, repr=False)
class RunContext:
    """What all stages of one enrollment share.

    Attributes:
        settings: what decides how the mask looks.
        runtime, finder, synthesizer: what the stages work with.
        morphing: morphs variations with other faces; None for none.
        anchor_pool: centers of the population; None for anchors opposite to the identity.
        versions: of everything that shapes the mask, by name.
        seed: of every random choice, 0 .. 2**63 - 1.
        earlier: the person's mask from photos that are gone, to be refined.
        tell: told the stage, the share of the whole that is done and a remark; raises to stop.
        seconds: wall time by stage, added as they end.
    """

    settings: PipelineSettings
    runtime: RecognizerRuntime
    finder: FaceFinder
    synthesizer: Synthesizer
    morphing: Morphing | None
    anchor_pool: AnchorPool | None
    versions: Mapping[str, str]
    seed: int
    earlier: StoredMask | None
    tell: Callable[[Stage, float, str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    def within(self, stage: Stage, done: float, detail: str) -> None:
        """Tell how much of a stage is done, 0..1."""
        self.tell(stage, _BEGINS[stage] + done * (_ENDS[stage] - _BEGINS[stage]), detail)

    def making(self, done: float) -> None:
        """Tell how much of the variations is made, 0..1."""
        self.within(Stage.SYNTHESIZE, done, "making variations")

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Note how long a stage takes."""
        began = time.perf_counter()
        yield
        self.seconds[stage.value] = round(self.seconds.get(stage.value, 0.0) + time.perf_counter() - began, 2)


@dataclass(frozen=True, eq=False, repr=False)
class Material:
    """What a mask is learned from.

    Attributes:
        portraits: the photos, reduced to their faces.
        geometry: the frame that the mask is to lie in.
        shown: the photos themselves, as variations.
        variations: pictures of the person that differ as photos do.
        targets: by surrogate, what the mask leaves and approaches.
    """

    portraits: tuple[Portrait, ...]
    geometry: MaskGeometry
    shown: Variations
    variations: Variations
    targets: Mapping[str, Target]
