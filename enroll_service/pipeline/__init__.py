"""The three stages of enrollment: synthesize, perturb, personalize. The only room that needs torch."""

from enroll_service.pipeline.errors import (
    EnrollmentCancelled,
    EnrollmentRefused,
    FaceBlurred,
    FaceCutOff,
    FaceTooSmall,
    MaskNotRefinable,
    NoFace,
    NotSamePerson,
    SeveralFaces,
    SynthesisFailed,
    SynthesizerUnavailable,
)
from enroll_service.pipeline.settings import (
    Arc2FaceSettings,
    BankSettings,
    IntakeSettings,
    PerturbSettings,
    StageSettings,
    SynthesisSettings,
    SynthesizerName,
)

# The stages themselves are not imported here: settings and errors must be had without torch.
__all__ = [
    "Arc2FaceSettings",
    "BankSettings",
    "EnrollmentCancelled",
    "EnrollmentRefused",
    "FaceBlurred",
    "FaceCutOff",
    "FaceTooSmall",
    "IntakeSettings",
    "MaskNotRefinable",
    "NoFace",
    "NotSamePerson",
    "PerturbSettings",
    "SeveralFaces",
    "StageSettings",
    "SynthesisFailed",
    "SynthesisSettings",
    "SynthesizerName",
    "SynthesizerUnavailable",
]
