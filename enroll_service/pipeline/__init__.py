"""The stages of enrollment: intake, synthesize, perturb, personalize. The only room that needs torch."""

from enroll_service.pipeline.errors import (
    EnrollmentCancelled,
    EnrollmentRefused,
    FaceBlurred,
    FaceCutOff,
    FaceTooSmall,
    MaskNotRefinable,
    NoFace,
    NotSamePerson,
    PhotoAlreadyCloaked,
    RecipeUnusable,
    SeveralFaces,
    SynthesisFailed,
    SynthesizerUnavailable,
)
from enroll_service.pipeline.progress import Progress, Stage
from enroll_service.pipeline.recipe import BankRecipe, PerturbRecipe, Recipe, SsimPaintRecipe, SynthesisRecipe
from enroll_service.pipeline.report import EnrollmentReport
from enroll_service.pipeline.settings import (
    Arc2FaceSettings,
    IntakeSettings,
    MaskSettings,
    PipelineSettings,
    SynthesizerName,
)
from enroll_service.pipeline.strengths import MaskKind, Strength

# The stages themselves are not imported here: settings, reports and errors must be had without torch.
__all__ = [
    "Arc2FaceSettings",
    "BankRecipe",
    "EnrollmentCancelled",
    "EnrollmentRefused",
    "EnrollmentReport",
    "FaceBlurred",
    "FaceCutOff",
    "FaceTooSmall",
    "IntakeSettings",
    "MaskKind",
    "MaskNotRefinable",
    "MaskSettings",
    "NoFace",
    "NotSamePerson",
    "PerturbRecipe",
    "PipelineSettings",
    "Progress",
    "Recipe",
    "RecipeUnusable",
    "PhotoAlreadyCloaked",
    "SeveralFaces",
    "SsimPaintRecipe",
    "Stage",
    "Strength",
    "SynthesisFailed",
    "SynthesisRecipe",
    "SynthesizerName",
    "SynthesizerUnavailable",
]
