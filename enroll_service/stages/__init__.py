"""The three stages of enrolment: synthesize, perturb, personalize. The only room that needs torch."""

from enroll_service.stages.errors import (
    EnrollmentCancelled,
    EnrollmentRefused,
    FaceBlurred,
    FaceCutOff,
    FaceTooSmall,
    NoFace,
    NotSamePerson,
    SeveralFaces,
)
from enroll_service.stages.settings import IntakeSettings, PerturbSettings, StageSettings, SynthesisSettings

# The stages themselves are not imported here: settings and errors must be had without torch.
__all__ = [
    "EnrollmentCancelled",
    "EnrollmentRefused",
    "FaceBlurred",
    "FaceCutOff",
    "FaceTooSmall",
    "IntakeSettings",
    "NoFace",
    "NotSamePerson",
    "PerturbSettings",
    "SeveralFaces",
    "StageSettings",
    "SynthesisSettings",
]
