"""What an enrollment says about its mask: written with it, sealed, and read back whatever release wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

_OLDER = {"of_another_release": True}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _unreadable_is_unknown(cls, value: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Other releases may have written something else under a name: that reads as not known."""
        try:
            return read(value)
        except ValidationError:
            if info.context != _OLDER or info.field_name is None:
                raise
            return cls.model_fields[info.field_name].get_default(call_default_factory=True)


class Similarity(_Record):
    """One surrogate's mean cosine to the person, of the variations measured."""

    before: float = 0.0
    """Without the mask."""
    after: float = 0.0
    """With it."""
    psr_estimate: float | None = None
    """Share of the masked variations that it would match to a stranger, 0..1; None where that cannot be told."""


class DisplacementReport(_Record):
    """How far a mask moves a face, in percent of the distance between the eyes."""

    rms_percent: float = 0.0
    """Root mean square over the face."""
    largest_percent: float = 0.0
    """The largest."""
    asymmetry_percent: float = 0.0
    """Root mean square of what the two sides differ by."""


class SynthesisReport(_Record):
    """Who made the variations, and what became of pictures that a generative model drew."""

    synthesizer: str = ""
    """Name and version."""
    pictures: Mapping[str, int] = Field(default_factory=dict)
    """How many variations each part of the synthesizer made, by its name."""
    pictures_drawn: int = 0
    """Pictures that a generative model drew."""
    pictures_rejected: int = 0
    """Of those, the ones that were not used."""
    rejected_because: Mapping[str, int] = Field(default_factory=dict)
    """These by reason."""
    recognizer: str = ""
    """Recognizer that the pictures were drawn from."""
    license: str = ""
    """Of the generative model's weights."""

    @model_validator(mode="before")
    @classmethod
    def _earlier_releases_counted_beside_the_rest(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "pictures" in value:
            return value
        counted = {name: count for name, count in value.items() if name not in cls.model_fields and type(count) is int}
        return {**value, "pictures": counted}


class PhotoLeftOut(_Record):
    """A photo that was not learned from."""

    photo: int = 0
    """Its index in the call, from 0."""
    reason: str = ""
    """As the error has it by which it would have been refused."""


class Measurement(_Record):
    """What one mask does, or the masks of a bank in the mean."""

    condition: str = ""
    """On what, through what and by whom it was measured, for a person."""
    variations: int = 0
    """Number of pictures that it was measured on."""
    similarities: Mapping[str, Similarity] = Field(default_factory=dict)
    """By surrogate, through the condition's JPEG."""
    psr_estimate: float | None = None
    """Mean of the surrogates' estimates."""
    jod: float | None = None
    """ColorVideoVDP's JOD that the painted part keeps on the enrolled crops, predicted: 10 is nothing seen, and of 9
    three in four people tell the original of the two. None for masks of earlier releases."""
    ssimulacra2: float | None = None
    """SSIMULACRA2 that it keeps, predicted: 100 is nothing seen."""
    displacement: DisplacementReport | None = None
    """None where nothing is displaced."""
    ssim: float = 0.0
    """Structural similarity of the enrolled crops with and without the mask, what it displaces included."""
    ssim_painted: float | None = None
    """The same against the crops displaced alone: what is painted."""
    ssim_at_own_size: float | None = None
    """The same at the photo's own size."""
    psnr_db: float | None = None
    """Of the enrolled crops; None for a mask that changes nothing."""
    max_level: int = 0
    """Largest change of a pixel, levels."""
    chroma_share: float = 0.0
    """Share of the painted part's energy that is color."""


class BankReport(_Record):
    """What the masks of a bank come to together."""

    masks: int = 1
    """How many there are."""
    similarity_between_masks: Mapping[str, float] = Field(default_factory=dict)
    """By surrogate, how alike two photos of the person are that carry different masks."""
    mask_seconds: tuple[float, ...] = ()
    """Wall time of learning each."""
    ssim: float = 0.0
    """Mean over the masks, as in :class:`Measurement`."""
    jod: float | None = None
    """Mean over the masks, as in :class:`Measurement`."""
    ssimulacra2: float | None = None
    """Mean over the masks, as in :class:`Measurement`."""
    similarities: Mapping[str, Similarity] = Field(default_factory=dict)
    """Mean over the masks."""
    psr_estimate: float | None = None
    """Mean over the masks."""
    warnings: tuple[str, ...] = ()
    """Every mask's, each once."""


class EnrollmentReport(Measurement):
    """All that is known of an enrollment beside its mask. JSON both ways."""

    warnings: tuple[str, ...] = ()
    """Sentences that the user should see."""
    surrogates: tuple[str, ...] = ()
    """Recognizers that the mask was learned against."""
    synthesis: SynthesisReport | None = None
    """How the variations were made; None for masks of the first releases."""
    photo_count: int = 0
    """Photos that the mask was learned from, earlier ones included."""
    photos_before: int = 0
    """Of these, the ones of the mask that was refined."""
    photos_left_out: tuple[PhotoLeftOut, ...] = ()
    """Photos of the call that were not learned from."""
    strength: str = ""
    """How visible the mask may be; empty where the operator set a budget of their own."""
    kind: str = ""
    """What the mask does to a face; empty for masks of earlier releases, which paint."""
    geometry: str = ""
    """The frame that the mask lies in."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Settings and recipe, without paths."""
    seconds: Mapping[str, float] = Field(default_factory=dict)
    """Wall time by stage."""
    bank: BankReport | None = None
    """In the first mask of a bank."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> EnrollmentReport:
        """Of a stored mask's or bank's report, this release's or another's; what cannot be read is not known."""
        return cls.model_validate(document, context=_OLDER)

    def document(self) -> dict[str, Any]:
        """JSON values, as they are stored."""
        return self.model_dump(mode="json", exclude={"bank"} if self.bank is None else None)
