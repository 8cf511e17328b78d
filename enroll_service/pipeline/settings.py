"""What an operator turns about masks; everything else is the recipe (:mod:`enroll_service.pipeline.recipe`)."""

from __future__ import annotations

import importlib.util
from typing import Literal

from pydantic import Field, model_validator

from enroll_service.pipeline.frozen_model import FrozenModel, Share
from enroll_service.pipeline.recipe import Recipe, SynthesizerName
from enroll_service.pipeline.strengths import MaskKind, Strength, StrengthBudget
from facecloak.photos import PhotoLimits
from facecloak.photos.photo import USUAL_FORMATS, PhotoFormat


class IntakeSettings(FrozenModel):
    """Which photos may be enrolled."""

    min_eye_distance_px: float = Field(default=16.0, gt=0)
    """Distance between the eye centers below which the photo is refused. The aligned crop has 35 px between the eyes: a
    smaller face than half of that would be learned from pixels that were mostly made up."""

    min_sharpness: float = Field(default=20.0, ge=0)
    """Variance of the Laplacian (levels squared) of the aligned crop's luma below which the face counts as blurred.
    Of 60 news photos the least sharp has 35; a sharp portrait (646) blurred by a sigma of 3 px has 10."""

    min_share_inside: Share = 0.8
    """Share of the aligned square that must lie inside the photo."""

    same_person_score: Share = 0.4
    """Several photos belong together when each one's similarity to the others reaches this, on a scale from another
    person (0) to the same person (1). Of the tuning people's pairs, by five of the default surrogates, 1 in 700 of one
    person lies below it and 2 in 100 of two people above."""

    heic: bool = False
    """Whether HEIC photos, as phones make them, are taken, too. Needs the extra `heif`. Off by default: its decoders
    have a history of faults."""

    avif: bool = False
    """Whether AVIF photos are taken, too, by the libavif in Pillow. Off by default, for the same reason."""

    @property
    def photo_limits(self) -> PhotoLimits:
        """The limits on one photo."""
        further = {PhotoFormat.HEIC: self.heic, PhotoFormat.AVIF: self.avif}
        return PhotoLimits(formats=USUAL_FORMATS | {kind for kind, is_taken in further.items() if is_taken})

    @model_validator(mode="after")
    def _decoders_are_there(self) -> IntakeSettings:
        if self.heic and importlib.util.find_spec("pillow_heif") is None:
            raise ValueError("heic needs the extra `heif`: pip install 'facecloak[heif]'")
        return self


class Arc2FaceSettings(FrozenModel):
    """The synthesizer `arc2face` (arXiv 2403.11641; docs/arc2face.md). Used only where `synthesis` names it."""

    weights: str = ""
    """Folder with Arc2Face's weights as published, `arc2face` (UNet) and `encoder` in it, as safetensors files. Nothing
    is ever downloaded. The usual weights were trained on photos for non-commercial research."""

    base: str = ""
    """Folder with the base, Stable Diffusion 1.5 as published: `vae`, `tokenizer`, `scheduler`. Empty: the folder
    `stable-diffusion-v1-5` in `weights`."""

    recognizer: str = ""
    """Recognizer whose embedding (512 numbers) the pictures are drawn from: the ArcFace network that the weights were
    trained with, added with `facecloak models add`. Whatever it is, it must not judge the masks later."""

    device: Literal["", "cuda", "cpu"] = ""
    """Where it runs; empty: on a GPU where torch sees one, else on the CPU (minutes a picture)."""

    half_precision: bool | None = None
    """Whether in 16 bits; unset: on a GPU yes, on a CPU no."""

    batch: int = Field(default=8, ge=1, le=64)
    """Pictures drawn at once."""

    attention_slicing: bool = False
    """Compute attention in slices: less memory, slower."""

    vae_slicing: bool = False
    """Decode pictures one by one: less memory, slower."""

    cpu_offload: bool = False
    """Keep on the GPU only the network at work: least memory, slower."""

    safety_checker: bool = False
    """Withhold what Stable Diffusion's safety checker flags, and draw it again; its weights (`safety_checker`,
    `feature_extractor`) must lie in the base folder. Nobody sees the pictures, and none is kept, with or without."""


class MaskSettings(FrozenModel):
    """What an operator turns."""

    surrogates: tuple[str, ...] = ("dlib_resnet", "faceres", "fr_feature", "mobileface", "mobilefacenet", "sface")
    """Recognizers that the mask is learned against. Different families transfer better than many of one; mobilefacenet,
    of fr_feature's family, still left recognizers that were not asked less (measured: docs/experiments.md)."""

    strength: Strength = Strength.NATURAL
    """How visible the mask may be. unnoticed: side by side with the original hardly seen. natural: nobody would notice
    without the original. strong: most protection. The recipe's `strengths` says what each means."""

    kind: MaskKind = MaskKind.FULL
    """What a mask does. full: it paints and displaces. paint: it only paints, as the published algorithm's masks do,
    and shows much more for what it protects."""

    masks: int = Field(default=1, ge=1, le=16)
    """Masks of a user; ApplyCloak picks one a photo. More make cloaked photos harder to link and the masks harder to
    extract, and take their time at enrollment. At most facecloak.masks.bank.MAX_MASKS."""

    synthesizer: SynthesizerName = SynthesizerName.MESH
    """Who makes the variations that a mask is learned on. elastic: the photo bent and relit, on any CPU. mesh: the head
    turned, with other expressions, in other light, on any CPU. arc2face: new pictures of the person, drawn by a
    diffusion model, and those and the photo bent and relit, or turned too (the recipe's `arc2face.variety`); for a GPU,
    with weights that the operator brings."""

    face_pool: str = ""
    """Path of a sheet of faces to morph with, written by `facecloak pool faces`; empty for the one that comes with
    FaceCloak: blends of two people each, nobody's own face."""

    anchors: str = ""
    """Path of a pool written by `facecloak anchors build`; empty for the direction opposite to the enrolled
    identity."""

    intake: IntakeSettings = IntakeSettings()
    arc2face: Arc2FaceSettings = Arc2FaceSettings()

    @property
    def recognizers(self) -> tuple[str, ...]:
        """Every recognizer that shapes a mask: none of them can judge it."""
        drawn_from = self.arc2face.recognizer if self.synthesizer is SynthesizerName.ARC2FACE else ""
        return tuple(dict.fromkeys((*self.surrogates, *([drawn_from] if drawn_from else []))))

    @model_validator(mode="after")
    def _surrogates_are_distinct(self) -> MaskSettings:
        if not self.surrogates or len(set(self.surrogates)) != len(self.surrogates):
            raise ValueError("surrogates must name at least one recognizer, each once")
        return self


class PipelineSettings(MaskSettings):
    """Everything that decides what a mask looks like, apart from the photos and chance."""

    recipe: Recipe = Recipe()
    """How it is learned."""

    def of(self, *, strength: Strength | None, kind: MaskKind | None) -> PipelineSettings:
        """These settings with another strength or kind; a strength goes before a similarity of the recipe's own."""
        settings = self if kind is None else self.model_copy(update={"kind": kind})
        if strength is None:
            return settings
        paint = self.recipe.ssim_paint.model_copy(update={"ssim_target": None})
        recipe = self.recipe.model_copy(update={"ssim_paint": paint})
        return settings.model_copy(update={"strength": strength, "recipe": recipe})

    @property
    def budget(self) -> StrengthBudget:
        """How visible the mask may be."""
        return self.recipe.strengths.of(self.strength)

    @property
    def similarity_kept(self) -> float:
        """Structural similarity that a mask that only paints is brought to, 0..1."""
        own = self.recipe.ssim_paint.ssim_target
        return self.budget.ssim if own is None else own
