"""How far an enrollment is: the one type that the pipeline, the queue and the callers share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """Which part of the work is going on."""

    QUEUED = "queued"
    SYNTHESIZE = "synthesize"
    PERTURB = "perturb"
    PERSONALIZE = "personalize"


@dataclass(frozen=True)
class Progress:
    """How far an enrollment has come.

    Attributes:
        stage: what is being done.
        fraction: 0..1 of the whole; never falls.
        detail: a short remark for a person.
    """

    stage: Stage
    fraction: float
    detail: str = ""
