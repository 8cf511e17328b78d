"""The one place where enrollment's protobuf messages and domain types meet."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from enroll_service.jobs.request import Enrollment, EnrollmentRequest
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.progress import Progress, Stage
from enroll_service.pipeline.report import (
    DisplacementReport,
    EnrollmentReport,
    PhotoLeftOut,
    Similarity,
    SynthesisReport,
)
from enroll_service.pipeline.strengths import MaskKind, Strength
from enroll_service.validation import Validation
from facecloak.errors import InvalidInput
from facecloak.limits import check_request_id
from facecloak.masks.consent import Consent
from facecloak.stores import ListedMask, MaskPage
from facecloak.users import DEFAULT_TENANT, User
from facecloak.v1 import enroll_pb2
from facecloak_rpc.boxes import box_from, box_to
from facecloak_rpc.identity import ANYBODY, Caller

_STAGES = {
    Stage.QUEUED: enroll_pb2.ENROLL_STAGE_QUEUED,
    Stage.SYNTHESIZE: enroll_pb2.ENROLL_STAGE_SYNTHESIZE,
    Stage.PERTURB: enroll_pb2.ENROLL_STAGE_PERTURB,
    Stage.PERSONALIZE: enroll_pb2.ENROLL_STAGE_PERSONALIZE,
}
_STRENGTHS = {
    Strength.UNNOTICED: enroll_pb2.STRENGTH_UNNOTICED,
    Strength.NATURAL: enroll_pb2.STRENGTH_NATURAL,
    Strength.STRONG: enroll_pb2.STRENGTH_STRONG,
}
_KINDS = {MaskKind.FULL: enroll_pb2.MASK_KIND_FULL, MaskKind.PAINT: enroll_pb2.MASK_KIND_PAINT}
_KIND_NAMES = {number: kind for kind, number in _KINDS.items()}
_KIND_NUMBERS = {kind.value: number for kind, number in _KINDS.items()}
_STRENGTH_NAMES = {number: strength for strength, number in _STRENGTHS.items()}
_STRENGTH_NUMBERS = {strength.value: number for strength, number in _STRENGTHS.items()}
_STAGE_NAMES = {number: stage for stage, number in _STAGES.items()}


def request_from(message: enroll_pb2.EnrollUserRequest, *, caller: Caller = ANYBODY) -> EnrollmentRequest:
    """What ``caller`` asks for.

    Raises InvalidInput where the request id is malformed or the strength unknown; the rest is checked by the domain.
    """
    check_request_id(message.request_id)
    seed = message.options.seed if message.options.HasField("seed") else None
    strength = _STRENGTH_NAMES.get(message.options.strength)
    if strength is None and message.options.strength != enroll_pb2.STRENGTH_UNSPECIFIED:
        raise InvalidInput("the strength is none that this release knows", field="options.strength")
    kind = _KIND_NAMES.get(message.options.kind)
    if kind is None and message.options.kind != enroll_pb2.MASK_KIND_UNSPECIFIED:
        raise InvalidInput("the kind of mask is none that this release knows", field="options.kind")
    photos = tuple(_photo_from(photo) for photo in message.photos)
    return EnrollmentRequest(
        user_id=message.user_id,
        tenant=caller.tenant,
        caller=caller,
        photos=photos,
        seed=seed,
        request_id=message.request_id,
        strength=strength,
        kind=kind,
        add=message.options.add,
        leave_out_unfit=message.options.leave_out_unfit,
        consent=_consent_from(message.consent) if message.HasField("consent") else None,
    )


def _consent_from(message: enroll_pb2.ConsentRecord) -> Consent:
    """Raises ConsentInvalid."""
    return Consent(
        text_version=message.text_version,
        given_at=_instant_from(message.given_at),
        purpose=message.purpose,
        expires_at=_instant_from(message.expires_at) if message.HasField("expires_at") else "",
    )


def _instant_from(message: Timestamp) -> str:
    try:
        return message.ToJsonString()
    except ValueError:  # beyond the years 1 to 9999
        return ""


def _consent_to(consent: Consent | None) -> enroll_pb2.ConsentRecord | None:
    if consent is None:
        return None
    record = enroll_pb2.ConsentRecord(text_version=consent.text_version, purpose=consent.purpose)
    record.given_at.FromDatetime(datetime.fromisoformat(consent.given_at))
    if consent.expires_at:
        record.expires_at.FromDatetime(datetime.fromisoformat(consent.expires_at))
    return record


def _photo_from(message: enroll_pb2.EnrollmentPhoto) -> EnrollmentPhoto:
    face = box_from(message.face, field="photos.face") if message.HasField("face") else None
    return EnrollmentPhoto(data=message.data, face=face)


def request_to(request: EnrollmentRequest) -> enroll_pb2.EnrollUserRequest:
    """The client's side of :func:`request_from`."""
    photos = [
        enroll_pb2.EnrollmentPhoto(data=photo.data, face=box_to(photo.face) if photo.face is not None else None)
        for photo in request.photos
    ]
    return enroll_pb2.EnrollUserRequest(
        request_id=request.request_id,
        user_id=request.user_id,
        photos=photos,
        options=enroll_pb2.EnrollOptions(
            seed=request.seed,
            strength=_STRENGTHS[request.strength] if request.strength else enroll_pb2.STRENGTH_UNSPECIFIED,
            kind=_KINDS[request.kind] if request.kind else enroll_pb2.MASK_KIND_UNSPECIFIED,
            add=request.add,
            leave_out_unfit=request.leave_out_unfit,
        ),
        consent=_consent_to(request.consent),
    )


def progress_to(event: Progress) -> enroll_pb2.EnrollUserResponse:
    """A stream message of progress."""
    progress = enroll_pb2.EnrollProgress(stage=_STAGES[event.stage], fraction=event.fraction, detail=event.detail)
    return enroll_pb2.EnrollUserResponse(progress=progress)


def validation_to(validation: Validation) -> enroll_pb2.EnrollUserResponse:
    """The stream's only message, where nothing was to be done."""
    left_out = [enroll_pb2.PhotoLeftOut(photo=photo, reason=reason) for photo, reason in validation.left_out]
    return enroll_pb2.EnrollUserResponse(
        validation=enroll_pb2.EnrollmentValidation(
            photo_count=validation.photo_count, photos_left_out=left_out, warnings=validation.warnings
        )
    )


def validation_from(message: enroll_pb2.EnrollmentValidation) -> Validation:
    """The client's side of :func:`validation_to`."""
    left_out = tuple((one.photo, one.reason) for one in message.photos_left_out)
    return Validation(message.photo_count, left_out, tuple(message.warnings))


def progress_from(message: enroll_pb2.EnrollProgress) -> Progress:
    """The client's side of :func:`progress_to`; a stage unknown to this client reads as QUEUED."""
    return Progress(_STAGE_NAMES.get(message.stage, Stage.QUEUED), message.fraction, message.detail)


def enrollment_to(enrollment: Enrollment) -> enroll_pb2.Enrollment:
    """What may be told about a mask."""
    created_at = Timestamp()
    created_at.FromDatetime(datetime.fromisoformat(enrollment.created_at))
    return enroll_pb2.Enrollment(
        mask_id=enrollment.mask_id,
        created_at=created_at,
        surrogates=enrollment.report.surrogates,
        report=_report_to(enrollment.report),
        versions=enrollment.versions,
        photo_count=enrollment.report.photo_count,
        mask_count=enrollment.mask_count,
        consent=_consent_to(enrollment.consent),
    )


def enrollment_from(message: enroll_pb2.Enrollment) -> Enrollment:
    """The client's side of :func:`enrollment_to`."""
    return Enrollment(
        mask_id=message.mask_id,
        created_at=message.created_at.ToJsonString(),
        # An older service says nothing: it knew single masks only.
        mask_count=max(1, message.mask_count),
        consent=_consent_from(message.consent) if message.HasField("consent") else None,
        versions=dict(message.versions),
        report=_report_from(message),
    )


def page_to(page: MaskPage) -> enroll_pb2.ListEnrollmentsResponse:
    """A page of those who are enrolled."""
    return enroll_pb2.ListEnrollmentsResponse(
        users=[_listed_to(listed) for listed in page.masks],
        next_page_token=page.next_token,
        unnamed_count=page.unnamed,
        unreadable_count=page.unreadable,
    )


def _listed_to(listed: ListedMask) -> enroll_pb2.EnrolledUser:
    message = enroll_pb2.EnrolledUser(
        user_id=listed.user.user_id,
        mask_id=listed.mask_id,
        kind=_KIND_NUMBERS.get(listed.kind, enroll_pb2.MASK_KIND_UNSPECIFIED),
        strength=_STRENGTH_NUMBERS.get(listed.strength, enroll_pb2.STRENGTH_UNSPECIFIED),
        consent_expired=listed.is_expired,
        epoch=listed.epoch,
    )
    message.created_at.FromDatetime(datetime.fromisoformat(listed.created_at))
    if listed.expires_at:
        message.expires_at.FromDatetime(datetime.fromisoformat(listed.expires_at))
    return message


def listed_from(message: enroll_pb2.EnrolledUser, *, tenant: str = DEFAULT_TENANT) -> ListedMask:
    """The client's side of what :func:`page_to` holds."""
    strength, kind = _STRENGTH_NAMES.get(message.strength), _KIND_NAMES.get(message.kind)
    return ListedMask(
        user=User(tenant, message.user_id),
        mask_id=message.mask_id,
        created_at=_told(message.created_at),
        kind=kind.value if kind else "",
        strength=strength.value if strength else "",
        expires_at=_told(message.expires_at) if message.HasField("expires_at") else "",
        is_expired=message.consent_expired,
        epoch=message.epoch,
    )


def _told(message: Timestamp) -> str:
    """As the store itself writes instants."""
    return message.ToDatetime(UTC).isoformat(timespec="seconds")


def _report_to(report: EnrollmentReport) -> enroll_pb2.EnrollmentReport:
    similarities = [
        enroll_pb2.RecognizerSimilarity(recognizer=name, **dict(report.similarities[name]))
        for name in report.surrogates
        if name in report.similarities
    ]
    left_out = [enroll_pb2.PhotoLeftOut(photo=one.photo, reason=one.reason) for one in report.photos_left_out]
    return enroll_pb2.EnrollmentReport(
        ssim=report.ssim,
        similarities=similarities,
        warnings=report.warnings,
        synthesis=_synthesis_to(report.synthesis),
        psr_estimate=report.psr_estimate,
        condition=report.condition,
        variations=report.variations,
        strength=_STRENGTH_NUMBERS.get(report.strength, enroll_pb2.STRENGTH_UNSPECIFIED),
        photos_left_out=left_out,
        jod=report.jod,
        ssimulacra2=report.ssimulacra2,
        displacement=None
        if report.displacement is None
        else enroll_pb2.DisplacementReport(**dict(report.displacement)),
        kind=_KIND_NUMBERS.get(report.kind, enroll_pb2.MASK_KIND_UNSPECIFIED),
    )


def _report_from(message: enroll_pb2.Enrollment) -> EnrollmentReport:
    told = message.report
    strength, kind = _STRENGTH_NAMES.get(told.strength), _KIND_NAMES.get(told.kind)
    return EnrollmentReport(
        ssim=told.ssim,
        condition=told.condition,
        variations=told.variations,
        strength=strength.value if strength else "",
        kind=kind.value if kind else "",
        jod=told.jod if told.HasField("jod") else None,
        ssimulacra2=told.ssimulacra2 if told.HasField("ssimulacra2") else None,
        displacement=_displacement_from(told.displacement) if told.HasField("displacement") else None,
        surrogates=tuple(message.surrogates),
        similarities={
            one.recognizer: Similarity(before=one.before, after=one.after, psr_estimate=_estimate_from(one))
            for one in told.similarities
        },
        psr_estimate=_estimate_from(told),
        warnings=tuple(told.warnings),
        synthesis=_synthesis_from(told.synthesis) if told.HasField("synthesis") else None,
        photo_count=message.photo_count,
        photos_left_out=tuple(PhotoLeftOut(photo=one.photo, reason=one.reason) for one in told.photos_left_out),
    )


def _estimate_from(message: enroll_pb2.EnrollmentReport | enroll_pb2.RecognizerSimilarity) -> float | None:
    return message.psr_estimate if message.HasField("psr_estimate") else None


def _displacement_from(message: enroll_pb2.DisplacementReport) -> DisplacementReport:
    return DisplacementReport(
        rms_percent=message.rms_percent,
        largest_percent=message.largest_percent,
        asymmetry_percent=message.asymmetry_percent,
    )


def _synthesis_to(report: SynthesisReport | None) -> enroll_pb2.SynthesisReport | None:
    if report is None:
        return None
    return enroll_pb2.SynthesisReport(
        synthesizer=report.synthesizer,
        pictures_drawn=report.pictures_drawn,
        pictures_rejected=report.pictures_rejected,
    )


def _synthesis_from(message: enroll_pb2.SynthesisReport) -> SynthesisReport:
    return SynthesisReport(
        synthesizer=message.synthesizer,
        pictures_drawn=message.pictures_drawn,
        pictures_rejected=message.pictures_rejected,
    )
