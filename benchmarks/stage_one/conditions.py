"""The ways to learn a mask that are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from enroll_service.pipeline import SynthesizerName
from enroll_service.pipeline.intake.portrait import Portrait
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.synthesize.elastic import as_shown
from facecloak.masks.mask import MaskGeometry


class Unvaried:
    """The photos themselves, over and over."""

    identity = "none"

    def synthesize(
        self, portraits: Sequence[Portrait], *, count: int, seed: int, checkpoint: Callable[[float], None]
    ) -> Variations:
        """See :class:`enroll_service.pipeline.synthesize.elastic.Synthesizer`."""
        return as_shown(portraits, in_face_frame=False).chosen(torch.arange(count) % len(portraits))


class PhotoChoice(StrEnum):
    """What a mask is learned from."""

    ENROLLED = "enrolled"
    """The one photo that is enrolled."""

    ALL = "all"
    """All of the person's photos, the probes among them: nothing could know more."""

    ALL_BUT_PROBES = "all but the probes judged"
    """As many real photos as there are without those that the mask is judged on: a mask for each half of the probes."""


@dataclass(frozen=True)
class Condition:
    """One way to learn a mask."""

    name: str
    synthesizer: SynthesizerName = SynthesizerName.ELASTIC
    geometry: MaskGeometry = MaskGeometry.SQUARE
    elastic_px: float = 2.5
    varied: bool = True
    photos: PhotoChoice = PhotoChoice.ENROLLED
    morphed: bool = False


def _mesh(name: str, **changes: float | bool | PhotoChoice) -> Condition:
    return Condition(name, SynthesizerName.MESH, MaskGeometry.FACE, **changes)  # type: ignore[arg-type]


DEFAULT = _mesh("mesh, face's own frame, morphed with other faces", morphed=True)
FLOOR = Condition("photometric, aligned crop", elastic_px=0.0)
CEILING = _mesh("ceiling: 9 photos, mesh, face's own frame", photos=PhotoChoice.ALL)
UNSEEN_CEILING = _mesh("6 or 7 photos, no probe, mesh, face's own frame", photos=PhotoChoice.ALL_BUT_PROBES)
"""The way from `FLOOR` to a ceiling is what variations are to close."""

CONDITIONS = (
    Condition("no variation, aligned crop", varied=False),
    FLOOR,
    Condition("elastic, aligned crop"),
    Condition("mesh, aligned crop", SynthesizerName.MESH),
    _mesh("mesh, face's own frame"),
    DEFAULT,
    UNSEEN_CEILING,
    Condition("ceiling: 9 photos, photometric, aligned crop", elastic_px=0.0, photos=PhotoChoice.ALL),
    CEILING,
)
