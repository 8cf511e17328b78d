"""Requests survive the way to protobuf and back, hints included; malformed ones are refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from enroll_service.convert import enrollment_from, enrollment_to, request_from, request_to
from enroll_service.jobs.request import Enrollment, EnrollmentRequest
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.report import EnrollmentReport, Similarity
from enroll_service.pipeline.strengths import MaskKind, Strength
from facecloak.errors import InvalidInput
from facecloak.faces import Box
from facecloak.masks.bank import MaskBank
from facecloak.masks.consent import Consent
from facecloak.masks.mask import Mask
from facecloak.v1 import common_pb2, enroll_pb2


def test_a_request_comes_back_as_it_was() -> None:
    photos = (EnrollmentPhoto(b"one", face=Box(1.0, 2.0, 30.0, 40.0)), EnrollmentPhoto(b"two"))
    asked = EnrollmentRequest(
        user_id="ann", photos=photos, seed=7, request_id="r-1", strength=Strength.UNNOTICED, add=True,
        consent=Consent("v1", "2026-05-01T12:00:00Z", "cloaking", "2027-05-01T12:00:00Z"),
    )  # fmt: skip
    back = request_from(request_to(asked))
    assert (back.user_id, back.seed, back.request_id, back.strength) == ("ann", 7, "r-1", Strength.UNNOTICED)
    assert [(photo.data, photo.face) for photo in back.photos] == [(b"one", Box(1.0, 2.0, 30.0, 40.0)), (b"two", None)]
    assert back.add
    assert back.consent == asked.consent
    assert back.digest(key=b"key") == asked.digest(key=b"key")


def test_another_strength_is_another_request_and_an_unknown_one_is_refused() -> None:
    requests = [
        EnrollmentRequest(user_id="ann", photos=(EnrollmentPhoto(b"one"),), strength=strength)
        for strength in (None, *Strength)
    ]
    assert len({asked.digest(key=b"key") for asked in requests}) == 4
    assert [request_from(request_to(asked)).strength for asked in requests] == [None, *Strength]
    request = request_to(requests[0])
    request.options.strength = 9  # type: ignore[assignment]  # as a newer client may send it
    with pytest.raises(InvalidInput) as refused:
        request_from(request)
    assert refused.value.metadata["field"] == "options.strength"


def test_another_kind_is_another_request_and_an_unknown_one_is_refused() -> None:
    asked = EnrollmentRequest(user_id="ann", photos=(EnrollmentPhoto(b"one"),))
    kinds = [replace(asked, kind=kind) for kind in (None, *MaskKind)]
    assert len({one.digest(key=b"key") for one in kinds}) == 3
    assert [request_from(request_to(one)).kind for one in kinds] == [None, *MaskKind]
    message = request_to(asked)
    message.options.kind = 99  # type: ignore[assignment]
    with pytest.raises(InvalidInput, match="kind"):
        request_from(message)


def test_leaving_photos_out_is_another_request_and_not_doing_so_the_one_of_earlier_releases() -> None:
    asked = EnrollmentRequest(user_id="ann", photos=(EnrollmentPhoto(b"one"),), seed=7, add=True)
    leaving_out = replace(asked, leave_out_unfit=True)
    assert [request_from(request_to(one)).leave_out_unfit for one in (asked, leaving_out)] == [False, True]
    assert request_from(request_to(leaving_out)).digest(key=b"key") == leaving_out.digest(key=b"key")
    assert leaving_out.digest(key=b"key") != asked.digest(key=b"key")
    # As the release before the option had it: a retry across an update finds its receipt.
    assert asked.digest(key=b"key").hex() == "750bacf304738bb0015ccd452433ff6b01a2d0b531c19813ff0c43917acb5719"


def test_a_masks_own_measurement_comes_back_as_it_was() -> None:
    report = {
        "ssim": 0.5,
        "surrogates": ["one", "two"],
        "similarities": {
            "one": {"before": 0.5, "after": 0.25, "psr_estimate": 0.0},
            "two": {"before": 1.0, "after": 0.5},
        },
        "psr_estimate": 0.0,
        "condition": "held-out variations",
        "variations": 16,
        "strength": "strong",
        "kind": "full",
        "jod": 9.0,
        "ssimulacra2": 75.5,
        "displacement": {"rms_percent": 2.25, "largest_percent": 6.0, "asymmetry_percent": 0.0},
        "warnings": ["The mask is weak."],
        "photo_count": 1,
        "photos_left_out": [{"photo": 0, "reason": "NO_FACE"}, {"photo": 15, "reason": "NOT_SAME_PERSON"}],
    }
    told = EnrollmentReport.read(report)
    enrollment = Enrollment(
        mask_id="0" * 32, created_at="2026-01-01T00:00:00+00:00", versions={}, report=told, mask_count=1
    )
    # An estimate of 0 is a measurement, and one that is missing is none.
    assert enrollment_from(enrollment_to(enrollment)).report == told
    unknown = told.model_copy(update={"psr_estimate": None, "similarities": {"two": Similarity(before=1.0, after=0.5)}})
    bare = enrollment_from(enrollment_to(replace(enrollment, report=unknown))).report
    assert bare.psr_estimate is None
    assert bare.similarities == {"two": Similarity(before=1.0, after=0.5)}


def test_another_face_is_another_request() -> None:
    requests = [
        EnrollmentRequest(user_id="ann", photos=(EnrollmentPhoto(b"one", face=face),))
        for face in (None, Box(0, 0, 5, 5))
    ]
    assert requests[0].digest(key=b"key") != requests[1].digest(key=b"key")


@pytest.mark.parametrize(
    "box", [{"width": 0, "height": 5}, {"width": 5, "height": -1}, {"x": math.nan, "width": 5, "height": 5}]
)
def test_an_impossible_face_is_refused(box: dict[str, float]) -> None:
    request = request_to(EnrollmentRequest(user_id="ann", photos=(EnrollmentPhoto(b"one"),)))
    request.photos[0].face.CopyFrom(common_pb2.FaceBox(**box))
    with pytest.raises(InvalidInput) as refused:
        request_from(request)
    assert refused.value.metadata["field"] == "photos.face"


def test_a_bank_is_told_with_its_size_and_its_own_figures() -> None:
    nothing = np.zeros((112, 112, 3), np.int8)
    together = {"masks": 2, "ssim": 0.5, "similarity_between_masks": {"one": 0.1}}
    first = Mask.new(nothing, seed=1, report={"ssim": 0.75, "surrogates": ["one"], "bank": together})
    bank = MaskBank.of([first, Mask.new(nothing, seed=1, report={"ssim": 0.25})])
    told = enrollment_to(Enrollment.of(bank))
    assert (told.mask_id, told.mask_count, told.report.ssim) == (first.mask_id, 2, 0.5)
    assert enrollment_from(told).mask_count == 2
    assert enrollment_to(Enrollment.of(first)).mask_count == 1
    assert enrollment_from(enroll_pb2.Enrollment(mask_id="0" * 32)).mask_count == 1
