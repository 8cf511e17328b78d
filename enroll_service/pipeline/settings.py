"""Settings of the three stages. Figures marked "measured" come from people 1-20 of the tuning set (docs/results)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from facecloak.masks.mask import MaskGeometry

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class IntakeSettings(_Frozen):
    """Which photos may be enrolled."""

    min_eye_distance_px: float = Field(default=16.0, gt=0)
    """Distance between the eye centers below which the photo is refused. The aligned crop has 35 px between the eyes: a
    smaller face than half of that would be learned from pixels that were mostly made up."""

    min_sharpness: float = Field(default=20.0, ge=0)
    """Variance of the Laplacian (levels squared) of the aligned crop's luma below which the face counts as blurred.
    Of 60 news photos the least sharp has 35; a sharp portrait (646) blurred by a sigma of 3 px has 10."""

    min_share_inside: Share = 0.8
    """Share of the aligned square that must lie inside the photo."""

    background_face_ratio: float = Field(default=4.0, ge=1.0)
    """A face is the photo's only one if its area is at least this many times that of every other; so a passer-by in the
    background does not stop an enrollment, and a second portrait does."""

    same_person_score: Share = 0.4
    """Several photos belong together when each one's similarity to the others reaches this, on a scale from another
    person (0) to the same person (1). Of the tuning people's pairs, by the five default surrogates, 1 in 700 of one
    person lies below it and 2 in 100 of two people above."""


class SynthesizerName(StrEnum):
    """Who makes the variations (`enroll_service.pipeline.synthesize.factory` builds them)."""

    ELASTIC = "elastic"
    MESH = "mesh"
    ARC2FACE = "arc2face"


class SynthesisSettings(_Frozen):
    """Stage one: how varied the pictures are that the mask is learned on."""

    synthesizer: SynthesizerName = SynthesizerName.MESH
    """Who makes the variations. elastic: the photo bent and relit, on any CPU. mesh: the head turned, with other
    expressions, in other light, on any CPU. arc2face: new pictures of the person, drawn by a
    diffusion model, and those and the photo bent and relit, or turned too (`arc2face.variety`); for a GPU, with weights
    that the operator brings."""

    variations: int = Field(default=160, ge=1, le=512)
    """Variations made of the enrolled photo(s): as many as are looked at in 20 steps, each once."""

    elastic_px: float = Field(default=2.5, ge=0, le=16)
    """Standard deviation of the elastic warp's 4 x 4 control points, in px of the 112 crop (stands in for
    expression)."""

    rotation_radians: float = Field(default=0.05, ge=0, le=0.5)
    """Largest in-plane rotation left by the alignment."""

    yaw_degrees: float = Field(default=35.0, ge=0, le=60)
    """How far the mesh is turned to either side, at most; the spread is half of it."""

    pitch_degrees: float = Field(default=20.0, ge=0, le=40)
    """As ``yaw_degrees``, up and down."""

    roll_degrees: float = Field(default=15.0, ge=0, le=45)
    """As ``yaw_degrees``, in the image's plane; the alignment takes most of it back."""

    expression: float = Field(default=0.7, ge=0, le=3)
    """How much the mesh is deformed: 1 as one person's photos differ (see :mod:`facecloak.faces.shape`), in which the
    network's own scatter is counted too. Of 0.5, 0.7, 1 and 2, 2 is the worst and the others differ by less than chance
    (measured on people 1-20)."""

    mirrored: Share = 0.5
    """Share of the variations that are mirrored."""

    morphed: Share = 0.9
    """Share of the variations that are morphed with another face each time that a step looks at them. With 0 masks hold
    on fewer photos (measured: docs/experiments.md)."""

    morph: Share = 1.0
    """Largest share of the other face in a morph; shares are uniform from 0 to this. 0 morphs nothing. Of
    0.4, 0.7 and 1, 1 left least of the similarity (measured)."""

    face_pool: str = ""
    """Path of a sheet of faces to morph with, written by `facecloak pool faces`; empty for the one that comes with
    FaceCloak: blends of two people each, nobody's own face."""


class Arc2FaceSettings(_Frozen):
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

    steps: int = Field(default=25, ge=1, le=1000)
    """Steps of the solver a picture (Arc2Face's own default)."""

    guidance: float = Field(default=3.0, ge=1, le=30)
    """Scale of classifier-free guidance (Arc2Face's own default); 1 is without."""

    batch: int = Field(default=8, ge=1, le=64)
    """Pictures drawn at once."""

    repeats: int = Field(default=10, ge=1, le=64)
    """Variations an enrolled photo or a picture serves for, about: 160 variations take 16 pictures."""

    variety: Literal[SynthesizerName.ELASTIC, SynthesizerName.MESH] = SynthesizerName.ELASTIC
    """Who varies the photos and the pictures drawn: elastic or mesh, as in `synthesis.synthesizer`. Where a
    picture's mesh is not found, it is bent."""

    redraws: int = Field(default=16, ge=0, le=1024)
    """Pictures drawn again at most, in place of those that do not show the person."""

    similarity_floor: Annotated[float, Field(ge=-10.0, le=10.0)] = 0.4
    """A picture shows the person when its similarity to the photos reaches this, on a scale from another person (0) to
    the same (1), by the surrogates: as much as is asked of a second photo (`intake.same_person_score`)."""

    attention_slicing: bool = False
    """Compute attention in slices: less memory, slower."""

    vae_slicing: bool = False
    """Decode pictures one by one: less memory, slower."""

    cpu_offload: bool = False
    """Keep on the GPU only the network at work: least memory, slower."""

    safety_checker: bool = False
    """Withhold what Stable Diffusion's safety checker flags, and draw it again; its weights (`safety_checker`,
    `feature_extractor`) must lie in the base folder. Nobody sees the pictures, and none is kept, with or without."""


class Strength(StrEnum):
    """How visible a mask may be: each is a structural similarity that the mask is brought to, and kept within."""

    SUBTLE = "subtle"
    BALANCED = "balanced"
    STRONG = "strong"


SSIM_TARGETS = {Strength.SUBTLE: 0.90, Strength.BALANCED: 0.855, Strength.STRONG: 0.80}
"""Structural similarity (Wang et al. 2004) of the enrolled photo's aligned 112-pixel crop with and without the mask, by
strength. Other photos of the person, delivered at their own size, have about 0.01 more on the mean, single ones more or
less (docs/experiments.md)."""


class PerturbSettings(_Frozen):
    """Stage two: the mask's optimization."""

    strength: Strength = Strength.BALANCED
    """How visible the mask may be: subtle, balanced or strong."""

    ssim_target: Annotated[float, Field(gt=0.3, lt=1.0)] | None = None
    """Structural similarity of the enrolled crop to bring the mask to, in place of the strength's."""

    iterations: int = Field(default=20, ge=1, le=5000)
    """Steps of the optimization; cancellation is checked before each. 40 took twice as long and protected no better
    (measured)."""

    batch: int = Field(default=8, ge=1, le=64)
    """Variations a step; one call a recognizer and step."""

    max_level: float = Field(default=32.0, gt=0, le=127)
    """Largest change of a pixel, in levels of 0..255. Only brows, lashes, lips and hair take so much. At the same
    similarity 24 protects less and 48 more (measured), but 48 shows as dark strokes on a large portrait."""

    chroma: Share = 0.05
    """How much of a step's color part is kept: 0 makes a grey mask. People see tints that structural similarity does
    not: with 0.15, red and green edges show about the eyes of a large portrait."""

    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Share of the last step's direction that is kept (MI-FGSM, Dong et al. 2018)."""

    leakage: float = Field(default=0.8, ge=0, le=2)
    """How far budget is moved to where the surrogates' gradients have been large, and identity leaks: the exponent of
    their size. 0 leaves the budget to the photo's texture alone, and more of the similarity (measured)."""

    onward: float = Field(default=1.0, ge=0, le=4)
    """Weight of the direction in which the mask already leads the embeddings, across the person's identity, against
    leaving that identity. With 0 masks hold on fewer photos (measured)."""

    step_levels: float = Field(default=1.5, gt=0)
    """Mean change of a pixel in the first step, in levels; it falls linearly to a fifth of that."""

    smoothing_px: float = Field(default=1.0, ge=0, le=8)
    """Sigma of the Gaussian that smooths each gradient (TI-FGSM, Dong et al. 2019): finer changes die in JPEG."""

    texture_px: float = Field(default=2.0, gt=0, le=16)
    """Sigma of the Gaussian window in which local contrast is measured for the shape of the budget."""

    misalignment: float = Field(default=1.0, ge=0, le=4)
    """How far a later detector's crop lies from ours, as a factor: 1 is up to 2 px, 4 % and 0.04 radians."""

    tones: float = Field(default=1.0, ge=0, le=2)
    """How far each step varies the masked pictures' tones, as a factor: 1 is a gamma of 0.74 to 1.35, a contrast of 0.7
    to 1.2 and a brightness of 0.85 to 1.15. At the same similarity unseen recognizers lose more photos (measured)."""

    @property
    def similarity_kept(self) -> float:
        """Structural similarity that the mask is brought to, 0..1."""
        return SSIM_TARGETS[self.strength] if self.ssim_target is None else self.ssim_target


class BankSettings(_Frozen):
    """How many masks a user gets, and what the further ones may cost."""

    masks: int = Field(default=1, ge=1, le=16)
    """Masks of a user; ApplyCloak picks one a photo. More make cloaked photos harder to link and the masks harder to
    extract, and take their time at enrollment. At most facecloak.masks.bank.MAX_MASKS."""

    iterations: int = Field(default=30, ge=1, le=5000)
    """Steps of each mask after the first."""

    batch: int = Field(default=8, ge=1, le=64)
    """Variations a step of each mask after the first. Twice the steps with half of the batch take as long and did worse
    (measured)."""

    repulsion: float = Field(default=3.0, ge=0, le=100)
    """Weight of the directions that earlier masks lead to, against the person's identity (measured: 3 keeps more
    photos apart than 1, at the same protection). 0 makes masks that differ by chance only."""

    margin: Share = 0.0
    """How far a mask may lead where an earlier one leads before it is repelled, as a share of how far the first one
    does. With 0.35, photos are harder to match with uncloaked ones and easier to match with each other (measured)."""


class StageSettings(_Frozen):
    """Everything that decides what a mask looks like, apart from the photos."""

    surrogates: tuple[str, ...] = ("dlib_resnet", "faceres", "fr_feature", "mobileface", "mobilefacenet")
    """Recognizers that the mask is learned against. Different families transfer better than many of one; mobilefacenet,
    of fr_feature's family, still left recognizers that were not asked less (measured: docs/experiments.md)."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of every random choice; the same photos, settings and seed give the same mask."""

    anchors: str = ""
    """Path of a pool written by `facecloak anchors build`; empty for the direction opposite to the enrolled
    identity."""

    geometry: MaskGeometry = MaskGeometry.FACE
    """The frame that the mask lies in. similarity-112: the aligned crop's. uv-112: the face's own, which follows pose
    and expression where a photo's face mesh is found."""

    refining_pull: Share = 0.05
    """When a mask is refined with new photos, the share of the way back to the stored one that each step ends with:
    0 forgets the old photos as learning goes on, 1 learns nothing new."""

    intake: IntakeSettings = IntakeSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    arc2face: Arc2FaceSettings = Arc2FaceSettings()
    perturb: PerturbSettings = PerturbSettings()
    bank: BankSettings = BankSettings()

    def of_strength(self, strength: Strength) -> StageSettings:
        """These settings with another strength."""
        perturb = self.perturb.model_copy(update={"strength": strength, "ssim_target": None})
        return self.model_copy(update={"perturb": perturb})

    @property
    def recognizers(self) -> tuple[str, ...]:
        """Every recognizer that shapes a mask: none of them can judge it."""
        drawn_from = self.arc2face.recognizer if self.synthesis.synthesizer is SynthesizerName.ARC2FACE else ""
        return tuple(dict.fromkeys((*self.surrogates, *([drawn_from] if drawn_from else []))))

    @model_validator(mode="after")
    def _surrogates_are_distinct(self) -> StageSettings:
        if not self.surrogates or len(set(self.surrogates)) != len(self.surrogates):
            raise ValueError("surrogates must name at least one recognizer, each once")
        return self
