"""The one place where enrollment's protobuf messages and domain types meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from enroll_service.jobs.request import Enrollment, EnrollmentRequest, ProgressEvent, Stage
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.settings import Strength
from facecloak.errors import InvalidInput
from facecloak.limits import check_request_id
from facecloak.v1 import enroll_pb2
from facecloak_rpc.boxes import box_from, box_to

_STAGES = {
    Stage.QUEUED: enroll_pb2.ENROLL_STAGE_QUEUED,
    Stage.SYNTHESIZE: enroll_pb2.ENROLL_STAGE_SYNTHESIZE,
    Stage.PERTURB: enroll_pb2.ENROLL_STAGE_PERTURB,
    Stage.PERSONALIZE: enroll_pb2.ENROLL_STAGE_PERSONALIZE,
}
_STRENGTHS = {
    Strength.SUBTLE: enroll_pb2.STRENGTH_SUBTLE,
    Strength.BALANCED: enroll_pb2.STRENGTH_BALANCED,
    Strength.STRONG: enroll_pb2.STRENGTH_STRONG,
}
_STRENGTH_NAMES = {number: strength for strength, number in _STRENGTHS.items()}
_STAGE_NAMES = {number: stage for stage, number in _STAGES.items()}


def request_from(message: enroll_pb2.EnrollUserRequest) -> EnrollmentRequest:
    """Raises InvalidInput where the request id is malformed or the strength unknown; the rest is checked by the
    domain."""
    check_request_id(message.request_id)
    seed = message.options.seed if message.options.HasField("seed") else None
    strength = _STRENGTH_NAMES.get(message.options.strength)
    if strength is None and message.options.strength != enroll_pb2.STRENGTH_UNSPECIFIED:
        raise InvalidInput("the strength is none that this release knows", field="options.strength")
    photos = tuple(_photo_from(photo) for photo in message.photos)
    return EnrollmentRequest(
        user_id=message.user_id,
        photos=photos,
        seed=seed,
        request_id=message.request_id,
        strength=strength,
        add=message.options.add,
        leave_out_unfit=message.options.leave_out_unfit,
    )


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
            add=request.add,
            leave_out_unfit=request.leave_out_unfit,
        ),
    )


def progress_to(event: ProgressEvent) -> enroll_pb2.EnrollUserResponse:
    """A stream message of progress."""
    progress = enroll_pb2.EnrollProgress(stage=_STAGES[event.stage], fraction=event.fraction, detail=event.detail)
    return enroll_pb2.EnrollUserResponse(progress=progress)


def progress_from(message: enroll_pb2.EnrollProgress) -> ProgressEvent:
    """The client's side of :func:`progress_to`; a stage unknown to this client reads as QUEUED."""
    return ProgressEvent(_STAGE_NAMES.get(message.stage, Stage.QUEUED), message.fraction, message.detail)


def enrollment_to(enrollment: Enrollment) -> enroll_pb2.Enrollment:
    """What may be told about a mask."""
    created_at = Timestamp()
    created_at.FromDatetime(datetime.fromisoformat(enrollment.created_at))
    report = enrollment.report
    return enroll_pb2.Enrollment(
        mask_id=enrollment.mask_id,
        created_at=created_at,
        surrogates=_names(report.get("surrogates")),
        report=_report_to(report),
        versions=enrollment.versions,
        photo_count=int(_number(report.get("photo_count"))),
        seed=enrollment.seed,
        mask_count=enrollment.mask_count,
    )


def enrollment_from(message: enroll_pb2.Enrollment) -> Enrollment:
    """The client's side of :func:`enrollment_to`."""
    measured = message.report
    similarities = {
        s.recognizer: {"before": s.before, "after": s.after} | _estimate_from(s) for s in measured.similarities
    }
    strength = _STRENGTH_NAMES.get(measured.strength)
    return Enrollment(
        mask_id=message.mask_id,
        created_at=message.created_at.ToJsonString(),
        seed=message.seed,
        # An older service says nothing: it knew single masks only.
        mask_count=max(1, message.mask_count),
        versions=dict(message.versions),
        report={
            "ssim": measured.ssim,
            "condition": measured.condition,
            "variations": measured.variations,
            "strength": strength.value if strength else "",
            "surrogates": list(message.surrogates),
            "similarities": similarities,
            "warnings": list(measured.warnings),
            "synthesis": _synthesis_from(measured.synthesis),
            "photo_count": message.photo_count,
            "photos_left_out": [{"photo": one.photo, "reason": one.reason} for one in measured.photos_left_out],
        }
        | _estimate_from(measured),
    )


def _estimate_from(message: enroll_pb2.EnrollmentReport | enroll_pb2.RecognizerSimilarity) -> dict[str, float]:
    return {"psr_estimate": message.psr_estimate} if message.HasField("psr_estimate") else {}


def _estimate_to(measured: Mapping[str, Any]) -> float | None:
    estimate = measured.get("psr_estimate")
    return float(estimate) if isinstance(estimate, int | float) else None


def _synthesis_from(message: enroll_pb2.SynthesisReport) -> dict[str, Any]:
    return {
        "synthesizer": message.synthesizer,
        "pictures_drawn": message.pictures_drawn,
        "pictures_rejected": message.pictures_rejected,
    }


def _report_to(report: Mapping[str, Any]) -> enroll_pb2.EnrollmentReport:
    measured = report.get("similarities")
    pairs = measured if isinstance(measured, Mapping) else {}
    similarities = [
        enroll_pb2.RecognizerSimilarity(
            recognizer=name,
            before=_number(pairs[name]["before"]),
            after=_number(pairs[name]["after"]),
            psr_estimate=_estimate_to(pairs[name]),
        )
        for name in _names(report.get("surrogates"))
        if name in pairs
    ]
    return enroll_pb2.EnrollmentReport(
        ssim=_number(report.get("ssim")),
        similarities=similarities,
        warnings=_names(report.get("warnings")),
        synthesis=_synthesis_to(report.get("synthesis")),
        psr_estimate=_estimate_to(report),
        condition=str(report.get("condition", "")),
        variations=int(_number(report.get("variations"))),
        strength=_strength_to(report.get("strength")),
        photos_left_out=_left_out_to(report.get("photos_left_out")),
    )


def _left_out_to(records: object) -> list[enroll_pb2.PhotoLeftOut]:
    known = records if isinstance(records, list | tuple) else []
    return [
        enroll_pb2.PhotoLeftOut(photo=int(_number(record.get("photo"))), reason=str(record.get("reason", "")))
        for record in known
        if isinstance(record, Mapping)
    ]


def _strength_to(name: object) -> enroll_pb2.Strength:
    known = {strength.value: number for strength, number in _STRENGTHS.items()}
    return known.get(str(name), enroll_pb2.STRENGTH_UNSPECIFIED)


def _synthesis_to(record: object) -> enroll_pb2.SynthesisReport | None:
    if not isinstance(record, Mapping):
        return None
    return enroll_pb2.SynthesisReport(
        synthesizer=str(record.get("synthesizer", "")),
        pictures_drawn=int(_number(record.get("pictures_drawn"))),
        pictures_rejected=int(_number(record.get("pictures_rejected"))),
    )


def _names(value: object) -> Sequence[str]:
    return [str(name) for name in value] if isinstance(value, list | tuple) else []


def _number(value: object) -> float:
    # Masks of other releases may lack a figure: 0 is protobuf's own "not set".
    return float(value) if isinstance(value, int | float) else 0.0
