"""Enrollment through the RPC with the real pipeline on real models, kept short by few iterations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from facecloak.cloaking.cloaker import Cloaker, Subject
from facecloak.errors import ErrorCode
from facecloak.faces import FaceFinder
from facecloak.users import User
from facecloak.v1 import enroll_pb2
from facecloak_rpc.client import RemoteError, remote_errors
from facecloak_rpc.faces import faces_in
from tests.users import NOBODY


def jpeg(srgb_u8: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(srgb_u8), quality=92, colorspace="RGB")


def refused(service: Any, *photos: bytes) -> RemoteError:
    with pytest.raises(RemoteError) as caught, remote_errors():
        list(service.enroll("refused", photos=photos))
    return caught.value


def test_a_real_photo_becomes_a_stored_mask(real_service: Any, astronaut_photo: bytes) -> None:
    messages = list(real_service.enroll("astronaut", photos=[astronaut_photo]))
    stages = [message.progress.stage for message in messages[:-1]]
    assert stages == sorted(stages)
    assert set(stages) == {
        enroll_pb2.ENROLL_STAGE_QUEUED,
        enroll_pb2.ENROLL_STAGE_SYNTHESIZE,
        enroll_pb2.ENROLL_STAGE_PERTURB,
        enroll_pb2.ENROLL_STAGE_PERSONALIZE,
    }
    result = messages[-1].result
    assert list(result.surrogates) == ["dlib_resnet", "mobileface"]
    assert [pair.recognizer for pair in result.report.similarities] == list(result.surrogates)
    assert all(pair.after < pair.before for pair in result.report.similarities)
    assert 0.5 < result.report.ssim < 1
    assert result.photo_count == 1
    assert "recognizer.mobileface" in result.versions
    assert result.created_at.seconds > 1_700_000_000
    assert np.abs(real_service.store.get(User("", "astronaut")).pixels).max() > 0
    stored = real_service.stub.GetEnrollment(enroll_pb2.GetEnrollmentRequest(user_id="astronaut"), timeout=10)
    assert stored.enrollment == result


def test_an_enrollment_is_measured(real_service: Any, astronaut_photo: bytes) -> None:
    def value(name: str, **labels: str) -> float:
        return real_service.domain.telemetry.registry.get_sample_value(name, labels) or 0.0

    watched = [
        ("facecloak_enrollments_total", {"outcome": "stored"}),
        ("facecloak_enrollments_total", {"outcome": "NO_FACE"}),
        ("facecloak_mask_jod_count", {}),
        ("facecloak_store_seconds_count", {"operation": "put", "outcome": "OK"}),
        *(("facecloak_stage_seconds_count", {"stage": stage}) for stage in ("synthesize", "perturb", "personalize")),
    ]
    before = [value(name, **labels) for name, labels in watched]
    list(real_service.enroll("measured", photos=[astronaut_photo]))
    refused(real_service, jpeg(np.full((400, 400, 3), 90, np.uint8)))
    gained = [value(name, **labels) - start for (name, labels), start in zip(watched, before, strict=True)]
    # The refused one got as far as looking for the face.
    assert gained == [1, 1, 1, 1, 2, 1, 1]
    gradients = {"recognizer": "mobileface", "call": "gradient", "runtime": "onnxruntime", "outcome": "OK"}
    assert value("facecloak_recognizer_seconds_count", **gradients) >= 3
    assert value("facecloak_ready") == 1


def test_the_seed_decides_the_mask(real_service: Any, astronaut_photo: bytes) -> None:
    pixels = []
    for user_id, seed in (("a", 5), ("b", 5), ("c", 6)):
        request = enroll_pb2.EnrollUserRequest(
            user_id=user_id,
            photos=[enroll_pb2.EnrollmentPhoto(data=astronaut_photo)],
            options=enroll_pb2.EnrollOptions(seed=seed),
        )
        list(real_service.stub.EnrollUser(request, timeout=120))
        assert real_service.store.get(User("", user_id)).seed == seed
        pixels.append(real_service.store.get(User("", user_id)).pixels)
    assert np.array_equal(pixels[0], pixels[1])
    assert not np.array_equal(pixels[0], pixels[2])


def test_two_faces_are_refused(real_service: Any, astronaut_srgb_u8: np.ndarray) -> None:
    error = refused(real_service, jpeg(np.hstack([astronaut_srgb_u8, astronaut_srgb_u8])))
    assert (error.code, error.reason) == (ErrorCode.FAILED_PRECONDITION, "SEVERAL_FACES")
    faces = faces_in(error)
    assert sorted(round(face.box.x / 512) for face in faces) == [0, 1]
    assert all(face.landmarks.shape == (5, 2) and 0.5 < face.score <= 1 for face in faces)


def test_a_cloaked_photo_is_refused_for_a_first_mask_and_for_a_refined_one(
    real_service: Any, astronaut_photo: bytes, model_repository: Path
) -> None:
    list(real_service.enroll("carol", photos=[astronaut_photo]))
    cloaked = Cloaker(FaceFinder.load(model_repository), real_service.store).cloak(astronaut_photo, [Subject("carol")])
    for add in (False, True):
        request = enroll_pb2.EnrollUserRequest(
            user_id="carol",
            photos=[enroll_pb2.EnrollmentPhoto(data=cloaked.photo)],
            options=enroll_pb2.EnrollOptions(add=add),
        )
        with pytest.raises(RemoteError) as caught, remote_errors():
            list(real_service.stub.EnrollUser(request, timeout=60))
        assert (caught.value.code, caught.value.reason) == (ErrorCode.FAILED_PRECONDITION, "PHOTO_ALREADY_CLOAKED")


def test_no_face_is_refused(real_service: Any, astronaut_photo: bytes) -> None:
    landscape = jpeg(np.full((300, 400, 3), 120, np.uint8))
    error = refused(real_service, landscape)
    assert (error.code, error.reason, error.metadata["photo"]) == (ErrorCode.FAILED_PRECONDITION, "NO_FACE", "0")
    # Among several photos the one at fault is named.
    assert refused(real_service, astronaut_photo, landscape).metadata["photo"] == "1"


def test_unfit_photos_are_left_out_where_asked(real_service: Any, astronaut_photo: bytes) -> None:
    landscape = jpeg(np.full((300, 400, 3), 120, np.uint8))
    photos = [landscape, astronaut_photo, b"no photo"]
    result = list(real_service.enroll("picky", photos=photos, leave_out_unfit=True))[-1].result
    assert result.photo_count == 1
    left_out = [(one.photo, one.reason) for one in result.report.photos_left_out]
    assert left_out == [(0, "NO_FACE"), (2, "UNSUPPORTED_PHOTO")]
    assert [warning.split(" was ")[0] for warning in result.report.warnings[:2]] == [
        "Photo 0 (counted from 0)",
        "Photo 2 (counted from 0)",
    ]
    stored = real_service.stub.GetEnrollment(enroll_pb2.GetEnrollmentRequest(user_id="picky"), timeout=10)
    assert stored.enrollment == result
    with pytest.raises(RemoteError) as nobody, remote_errors():
        list(real_service.enroll("nobody", photos=[b"no photo", landscape], leave_out_unfit=True))
    assert (nobody.value.reason, nobody.value.metadata["photo"]) == ("UNSUPPORTED_PHOTO", "0")
    assert real_service.store.version(NOBODY) is None


def test_cancelling_stops_the_real_pipeline(real_service: Any, astronaut_photo: bytes) -> None:
    call = real_service.enroll("cancelled", photos=[astronaut_photo])
    for message in call:
        if message.progress.stage == enroll_pb2.ENROLL_STAGE_PERTURB:
            break
    call.cancel()
    assert real_service.server.interceptor.wait_idle(10)
    assert real_service.store.version(User("", "cancelled")) is None


def test_health_needs_the_recognizers(real_service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the engine is gone")

    assert real_service.server.readiness.check()
    monkeypatch.setattr(real_service.domain.enroller, "_runtime", type("Gone", (), {"probe": fail})())
    assert not real_service.server.readiness.check()
    monkeypatch.undo()
    assert real_service.server.readiness.check()


def test_a_missing_model_folder_is_a_typed_error(tmp_path: Path) -> None:
    from enroll_service.server import build_domain
    from enroll_service.settings import EnrollSettings
    from facecloak.errors import FaceCloakError
    from facecloak_rpc.storage import StoreSettings

    with pytest.raises(FaceCloakError):
        build_domain(EnrollSettings(model_repository=tmp_path / "none", store=StoreSettings(data=tmp_path)))
