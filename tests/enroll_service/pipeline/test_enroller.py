"""Enrollment from a photo to a mask with the real recognizers, kept short by few iterations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from enroll_service.pipeline import (
    BankRecipe,
    EnrollmentCancelled,
    FaceBlurred,
    FaceCutOff,
    FaceTooSmall,
    MaskKind,
    MaskNotRefinable,
    NoFace,
    NotSamePerson,
    PerturbRecipe,
    PhotoAlreadyCloaked,
    PipelineSettings,
    Progress,
    Recipe,
    SeveralFaces,
    Strength,
    SynthesisRecipe,
)
from enroll_service.pipeline.enroller import Enroller
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.perturb.anchors import AnchorPool, AnchorPoolUnusable
from enroll_service.pipeline.report import SynthesisReport
from facecloak.faces import Box, FaceFinder
from facecloak.faces.fr_detect import FrDetect
from facecloak.faces.fr_landmark import FrLandmark
from facecloak.masks.bank import MaskBank, mask_from_bytes
from facecloak.masks.mask import Mask, MaskGeometry
from facecloak.models.errors import RecognizerUnknown
from facecloak.photos import UnsupportedPhoto
from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak.users import User

SURROGATES = ("dlib_resnet", "mobileface")
QUICK = PipelineSettings(
    surrogates=SURROGATES,
    recipe=Recipe(synthesis=SynthesisRecipe(variations=4), perturb=PerturbRecipe(iterations=4, batch=2)),
)


def quick(*, masks: int = 1, **parts: object) -> PipelineSettings:
    """The quick settings with other parts of the recipe."""
    return QUICK.model_copy(update={"masks": masks, "recipe": QUICK.recipe.model_copy(update=parts)})


@pytest.fixture(scope="module")
def runtime(model_repository: Path) -> OnnxRuntime:
    return OnnxRuntime(model_repository, names=SURROGATES, threads=1)


@pytest.fixture(scope="module")
def finder(model_repository: Path) -> FaceFinder:
    return FaceFinder.load(model_repository)


@pytest.fixture(scope="module")
def enroller(runtime: OnnxRuntime, finder: FaceFinder) -> Enroller:
    return Enroller(runtime=runtime, finder=finder, settings=QUICK)


def _run(enroller: Enroller, *photos: EnrollmentPhoto | bytes, seed: int = 11, leave_out_unfit: bool = False) -> Any:
    given = [EnrollmentPhoto(photo) if isinstance(photo, bytes) else photo for photo in photos]
    return enroller.run(
        given, progress=lambda _: None, cancelled=lambda: False, seed=seed, leave_out_unfit=leave_out_unfit
    )


def _made_by(pictures: dict[str, int]) -> dict[str, Any]:
    return SynthesisReport(synthesizer="mesh-2", pictures=pictures).model_dump()


def _jpeg(srgb_u8: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(srgb_u8), quality=92, colorspace="RGB")


def test_one_photo_gives_a_measured_mask_and_rising_progress(enroller: Enroller, astronaut_photo: bytes) -> None:
    seen: list[Progress] = []
    mask = enroller.run([EnrollmentPhoto(astronaut_photo)], progress=seen.append, cancelled=lambda: False, seed=11)
    assert [progress.fraction for progress in seen] == sorted(progress.fraction for progress in seen)
    assert list(dict.fromkeys(progress.stage for progress in seen)) == [
        "synthesize",
        "perturb",
        "personalize",
    ]
    assert seen[-1].fraction == 1.0
    assert mask.seed == 11
    assert np.abs(mask.pixels).max() > 0
    assert mask.report["surrogates"] == list(SURROGATES)
    budget = QUICK.budget
    assert mask.report["jod"] >= budget.jod - 0.02
    assert mask.report["ssimulacra2"] >= budget.ssimulacra2 - 0.5
    assert (mask.target_jod, mask.target_ssimulacra2) == (budget.jod, budget.ssimulacra2)
    moved = mask.report["displacement"]
    assert 0 < moved["rms_percent"] <= 100 * budget.displacement_rms_px / 35.24 + 0.1
    assert moved["largest_percent"] <= 100 * budget.displacement_largest_px / 35.24
    assert moved["asymmetry_percent"] < 0.1
    assert mask.report["ssim"] < mask.report["ssim_painted"] < 1
    for name in SURROGATES:
        assert mask.report["similarities"][name]["after"] < mask.report["similarities"][name]["before"]
        assert mask.versions[f"recognizer.{name}"]
    assert Mask.from_bytes(mask.to_bytes()) == mask


def test_a_bank_holds_masks_that_lead_to_different_places(
    runtime: OnnxRuntime, finder: FaceFinder, astronaut_photo: bytes
) -> None:
    seen: list[Progress] = []
    steps = PerturbRecipe(iterations=10, batch=4)
    apart, by_chance = (
        Enroller(
            runtime=runtime,
            finder=finder,
            settings=quick(masks=3, perturb=steps, bank=BankRecipe(iterations=10, batch=4, repulsion=repulsion)),
        ).run([EnrollmentPhoto(astronaut_photo)], progress=seen.append, cancelled=lambda: False, seed=11)
        for repulsion in (3.0, 0.0)
    )
    assert isinstance(apart, MaskBank)
    assert len(apart.masks) == 3
    assert len({mask.mask_id for mask in apart.masks}) == 3
    # The first mask is the same: what is different is where the others go.
    assert np.array_equal(apart.masks[0].pixels, by_chance.masks[0].pixels)
    for name in SURROGATES:
        between = [bank.report["similarity_between_masks"][name] for bank in (apart, by_chance)]
        assert between[0] < between[1]
        for mask in apart.masks:
            assert mask.report["similarities"][name]["after"] < mask.report["similarities"][name]["before"]
    assert apart.report["ssim"] == pytest.approx(np.mean([mask.report["ssim"] for mask in apart.masks]), abs=1e-4)
    assert mask_from_bytes(apart.to_bytes()) == apart
    half = len(seen) // 2
    assert [progress.fraction for progress in seen[:half]] == sorted(progress.fraction for progress in seen[:half])
    assert "mask 3 of 3, step 10 of 10" in [progress.detail for progress in seen]


def test_a_bank_is_the_same_for_the_same_seed(runtime: OnnxRuntime, finder: FaceFinder, astronaut_photo: bytes) -> None:
    settings = quick(masks=2, bank=BankRecipe(iterations=3, batch=2))
    enroller = Enroller(runtime=runtime, finder=finder, settings=settings)
    first, again = (_run(enroller, astronaut_photo) for _ in range(2))
    for one, other in zip(first.masks, again.masks, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
    assert not np.array_equal(first.masks[0].pixels, first.masks[1].pixels)
    assert _run(enroller, astronaut_photo).masks[0].report["bank"]["masks"] == 2


def test_a_strength_is_what_people_see_and_how_far_a_face_moves(enroller: Enroller, astronaut_photo: bytes) -> None:
    seen = []
    for strength in Strength:
        mask = enroller.run(
            [EnrollmentPhoto(astronaut_photo)],
            progress=lambda _: None,
            cancelled=lambda: False,
            strength=strength,
            seed=11,
        )
        assert mask.report["strength"] == strength.value
        assert mask.target_jod == QUICK.recipe.strengths.of(strength).jod
        seen.append((mask.report["jod"], -mask.report["displacement"]["largest_percent"]))
    assert sorted(seen, reverse=True) == seen


def test_a_mask_that_only_paints_is_held_to_a_similarity(enroller: Enroller, astronaut_photo: bytes) -> None:
    for strength in Strength:
        mask = enroller.run(
            [EnrollmentPhoto(astronaut_photo)],
            progress=lambda _: None,
            cancelled=lambda: False,
            strength=strength,
            kind=MaskKind.PAINT,
            seed=11,
        )
        kept = QUICK.recipe.strengths.of(strength).ssim
        assert mask.report["ssim"] == pytest.approx(kept, abs=0.004)
        assert mask.report["ssim_at_own_size"] > kept - 0.004
        assert (mask.displacement, mask.target_jod, mask.report["displacement"]) == (None, None, None)
        assert (mask.report["kind"], mask.report["strength"]) == ("paint", strength.value)


def test_two_enrollments_of_a_photo_give_different_masks_that_nobody_can_make_again(
    enroller: Enroller, astronaut_photo: bytes
) -> None:
    first, second = (
        enroller.run([EnrollmentPhoto(astronaut_photo)], progress=lambda _: None, cancelled=lambda: False)
        for _ in range(2)
    )
    assert not np.array_equal(first.pixels, second.pixels)
    assert first.seed != second.seed
    # Random in all of its bits, and only in the sealed mask: the report tells nothing of it.
    assert max(first.seed, second.seed) > 2**55
    assert str(first.seed) not in str(first.report) + str(first.versions)


def test_same_photo_settings_and_seed_give_the_same_mask(enroller: Enroller, astronaut_photo: bytes) -> None:
    first, again, other = (_run(enroller, astronaut_photo, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)


def test_a_mask_lies_in_the_faces_frame_where_there_is_a_mesh(
    runtime: OnnxRuntime, finder: FaceFinder, model_repository: Path, astronaut_photo: bytes
) -> None:
    in_face_frame = quick(geometry=MaskGeometry.FACE)
    mask = _run(Enroller(runtime=runtime, finder=finder, settings=in_face_frame), astronaut_photo)
    assert mask.geometry is MaskGeometry.FACE
    assert mask.report["geometry"] == "uv-112"
    assert mask.report["synthesis"] == _made_by({"elastic-1": 0, "mesh-2": 4})
    assert Mask.from_bytes(mask.to_bytes()) == mask
    # Where the largest package was left out there is no mesh.
    reduced = FaceFinder(FrDetect(model_repository), FrLandmark(model_repository), None, first_side=1.0)
    without = _run(Enroller(runtime=runtime, finder=reduced, settings=in_face_frame), astronaut_photo)
    assert without.geometry is MaskGeometry.SQUARE
    assert without.report["synthesis"] == _made_by({"elastic-1": 4, "mesh-2": 0})
    assert "shape was not found" in without.report["warnings"][0]


def test_a_dark_photo_is_learned_from_in_usual_tones_and_told_of(
    enroller: Enroller, astronaut_photo: bytes, astronaut_srgb_u8: np.ndarray
) -> None:
    usual = _run(enroller, astronaut_photo)
    dark = _run(enroller, _jpeg((astronaut_srgb_u8 * 0.2).astype(np.uint8)))
    assert usual.report["warnings"] == []
    assert any("little contrast" in warning for warning in dark.report["warnings"])
    # As it is, the dark photo would be as similar with a mask a fifth as strong.
    strengths = [np.abs(mask.pixels.astype(np.int16)).mean() for mask in (dark, usual)]
    assert strengths[0] > 0.6 * strengths[1]


def test_cancelling_stops_within_one_iteration(enroller: Enroller, astronaut_photo: bytes) -> None:
    asked: list[str] = []

    def cancelled() -> bool:
        return len(asked) >= 4

    with pytest.raises(EnrollmentCancelled):
        enroller.run(
            [EnrollmentPhoto(astronaut_photo)],
            progress=lambda progress: asked.append(progress.stage),
            cancelled=cancelled,
        )
    assert len(asked) == 4


def test_no_face_is_refused(enroller: Enroller) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    with pytest.raises(NoFace):
        _run(enroller, _jpeg(noise))


def test_two_faces_are_refused_unless_one_is_pointed_at(enroller: Enroller, astronaut_srgb_u8: np.ndarray) -> None:
    half = astronaut_srgb_u8[:300, 100:350]
    twice = _jpeg(np.hstack([half, half]))
    with pytest.raises(SeveralFaces) as refused:
        _run(enroller, twice)
    assert (refused.value.metadata["photo"], refused.value.metadata["faces"]) == ("0", "2")
    first, second = refused.value.faces
    assert abs(abs(first.box.center[0] - second.box.center[0]) - 250) < 5
    for box in (Box(60, 50, 120, 130), second.box):
        assert _run(enroller, EnrollmentPhoto(twice, face=box)).report["photo_count"] == 1


def test_a_face_of_less_than_a_fifth_does_not_stop_an_enrollment(
    enroller: Enroller, astronaut_srgb_u8: np.ndarray
) -> None:
    import cv2

    for share, refused in ((0.25, True), (0.18, False)):
        # Four times as large, so that the small face is of a size that is found.
        canvas = cv2.resize(astronaut_srgb_u8, (1536, 1536), interpolation=cv2.INTER_CUBIC)
        side = round(1536 * share)
        canvas[1536 - side :, :side] = cv2.resize(astronaut_srgb_u8, (side, side), interpolation=cv2.INTER_AREA)
        if refused:
            with pytest.raises(SeveralFaces):
                _run(enroller, _jpeg(canvas))
        else:
            assert _run(enroller, _jpeg(canvas)).report["photo_count"] == 1


def test_a_box_of_the_stored_pixels_is_told(enroller: Enroller, astronaut_srgb_u8: np.ndarray) -> None:
    import io

    from PIL import Image

    tags = Image.Exif()
    tags[0x0112] = 6
    out = io.BytesIO()
    # A quarter turn clockwise makes it upright.
    Image.fromarray(np.rot90(astronaut_srgb_u8[:380, :500])).save(out, "JPEG", exif=tags, quality=92)
    upright, before = Box(180, 52, 89, 125), Box(52, 500 - 180 - 89, 125, 89)
    with pytest.raises(NoFace, match="before its EXIF rotation"):
        _run(enroller, EnrollmentPhoto(out.getvalue(), face=before))
    assert _run(enroller, EnrollmentPhoto(out.getvalue(), face=upright)).report["photo_count"] == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_that_was_cloaked_is_refused(
    enroller: Enroller, finder: FaceFinder, astronaut_srgb_u8: np.ndarray, astronaut_photo: bytes, kind: str
) -> None:
    import io

    from PIL import Image

    from facecloak.cloaking.cloaker import Cloaker, Outcome, Subject

    class Masks:
        def get(self, user: User) -> Mask:
            return Mask.new(np.full((112, 112, 3), 4, np.int8), seed=0)

    out = io.BytesIO()
    Image.fromarray(astronaut_srgb_u8).save(out, kind, quality=92)
    cloaked = Cloaker(finder, Masks()).cloak(out.getvalue(), [Subject("somebody")])
    assert cloaked.subjects[0].outcome is Outcome.CLOAKED
    for photos, index in (((cloaked.photo,), "0"), ((astronaut_photo, cloaked.photo), "1")):
        with pytest.raises(PhotoAlreadyCloaked) as refused:
            _run(enroller, *photos)
        assert refused.value.metadata["photo"] == index
    report = _run(enroller, cloaked.photo, astronaut_photo, leave_out_unfit=True).report
    assert report["photos_left_out"] == [{"photo": 0, "reason": "PHOTO_ALREADY_CLOAKED"}]
    assert report["photo_count"] == 1


def test_the_cloaked_photo_of_the_report_is_refused(enroller: Enroller, shared_dir: Path) -> None:
    photo = (shared_dir / "photos" / "faults" / "enroll_from_cloaked.jpg").read_bytes()
    with pytest.raises(PhotoAlreadyCloaked):
        _run(enroller, photo)


def test_small_blurred_and_cut_off_faces_are_refused(enroller: Enroller, astronaut_srgb_u8: np.ndarray) -> None:
    import cv2

    with pytest.raises(FaceTooSmall):
        _run(enroller, _jpeg(cv2.resize(astronaut_srgb_u8, (128, 128), interpolation=cv2.INTER_AREA)))
    with pytest.raises(FaceBlurred):
        _run(enroller, _jpeg(cv2.GaussianBlur(astronaut_srgb_u8, (0, 0), 3)))
    cut = _jpeg(astronaut_srgb_u8[:, 225:])
    with pytest.raises((FaceCutOff, NoFace)):
        _run(enroller, EnrollmentPhoto(cut, face=Box(-50, 60, 110, 140)))


def test_several_photos_must_show_one_person(
    enroller: Enroller, astronaut_srgb_u8: np.ndarray, astronaut_photo: bytes, shared_dir: Path
) -> None:
    brighter = _jpeg(np.clip(astronaut_srgb_u8[:, ::-1] * 1.2, 0, 255).astype(np.uint8))
    assert _run(enroller, astronaut_photo, brighter).report["photo_count"] == 2
    stranger = (sorted((shared_dir / "faces" / "people").iterdir())[4] / "enrol.jpg").read_bytes()
    with pytest.raises(NotSamePerson) as refused:
        _run(enroller, astronaut_photo, brighter, stranger)
    assert refused.value.metadata["photo"] == "2"
    with pytest.raises(NotSamePerson) as undecided:
        _run(enroller, astronaut_photo, stranger)
    assert "photo" not in undecided.value.metadata


def test_unfit_photos_are_left_out_where_asked_and_doubtful_ones_kept(
    enroller: Enroller, astronaut_srgb_u8: np.ndarray, astronaut_photo: bytes
) -> None:
    import cv2

    blank = _jpeg(np.full((300, 400, 3), 120, np.uint8))
    blurred = _jpeg(cv2.GaussianBlur(astronaut_srgb_u8, (0, 0), 3))
    dark = _jpeg((astronaut_srgb_u8[:, ::-1] * 0.2).astype(np.uint8))
    mixed = _run(enroller, blank, astronaut_photo, blurred, b"no photo", dark, leave_out_unfit=True)
    assert mixed.report["photos_left_out"] == [
        {"photo": 0, "reason": "NO_FACE"},
        {"photo": 2, "reason": "FACE_BLURRED"},
        {"photo": 3, "reason": "UNSUPPORTED_PHOTO"},
    ]
    assert mixed.report["photo_count"] == 2
    warnings = [warning for warning in mixed.report["warnings"] if "was left out" in warning]
    assert warnings[1] == "Photo 2 (counted from 0) was left out: The face is blurred."
    assert len(warnings) == 3
    # As if they had never been sent.
    fit = _run(enroller, astronaut_photo, dark, leave_out_unfit=True)
    assert np.array_equal(mixed.pixels, fit.pixels)
    assert (fit.report["photos_left_out"], fit.report["photo_count"]) == ([], 2)
    with pytest.raises(FaceBlurred) as refused:
        _run(enroller, astronaut_photo, blurred, dark)
    assert refused.value.metadata["photo"] == "1"
    with pytest.raises(UnsupportedPhoto) as unsupported:
        _run(enroller, astronaut_photo, b"no photo")
    assert unsupported.value.metadata["photo"] == "1"
    with pytest.raises(FaceBlurred) as first:
        _run(enroller, blurred, blank, leave_out_unfit=True)
    assert first.value.metadata["photo"] == "0"


def test_other_people_are_left_out_where_the_person_of_most_is_known(
    enroller: Enroller, astronaut_srgb_u8: np.ndarray, astronaut_photo: bytes, shared_dir: Path
) -> None:
    blank = _jpeg(np.full((300, 400, 3), 120, np.uint8))
    brighter = _jpeg(np.clip(astronaut_srgb_u8[:, ::-1] * 1.2, 0, 255).astype(np.uint8))
    people = sorted((shared_dir / "faces" / "people").iterdir())
    strangers = [(people[index] / "enrol.jpg").read_bytes() for index in (4, 5)]
    mask = _run(enroller, strangers[0], blank, astronaut_photo, brighter, leave_out_unfit=True)
    assert mask.report["photos_left_out"] == [
        {"photo": 0, "reason": "NOT_SAME_PERSON"},
        {"photo": 1, "reason": "NO_FACE"},
    ]
    assert mask.report["photo_count"] == 2
    assert mask.report["warnings"][0].endswith("It does not show the person that most of the photos show.")
    for photos in ([blank, astronaut_photo, strangers[0]], [astronaut_photo, *strangers]):
        with pytest.raises(NotSamePerson) as undecided:
            _run(enroller, *photos, leave_out_unfit=True)
        assert "photo" not in undecided.value.metadata


def test_refining_carries_the_earlier_mask_on(
    enroller: Enroller, astronaut_srgb_u8: np.ndarray, astronaut_photo: bytes
) -> None:
    first = _run(enroller, astronaut_photo)
    darker = [EnrollmentPhoto(_jpeg((astronaut_srgb_u8[:, ::-1] * 0.8).astype(np.uint8)))]
    fresh = enroller.run(darker, progress=lambda _: None, cancelled=lambda: False, seed=11)
    refined = enroller.run(darker, progress=lambda _: None, cancelled=lambda: False, earlier=first, seed=11)

    def alike(one: Mask, other: Mask) -> float:
        return float(np.corrcoef(one.pixels.ravel(), other.pixels.ravel())[0, 1])

    # Masks of one person are alike anyhow, as both sides of a face are painted alike: count what they differ by.
    assert 1 - alike(refined, first) < 0.5 * (1 - alike(fresh, first))
    assert alike(refined, first) < 0.999
    assert refined.displacement is not None
    assert not np.array_equal(refined.displacement, first.displacement)
    assert (refined.report["photo_count"], refined.report["photos_before"]) == (2, 1)
    # Nothing of the earlier photo but the mask: as much is kept as of one that was never refined.
    assert set(refined.report) == set(first.report)
    assert len(refined.to_bytes()) < len(first.to_bytes()) + 200


def test_a_mask_of_another_frame_cannot_be_refined(enroller: Enroller, astronaut_photo: bytes) -> None:
    pixels = np.zeros((112, 112, 3), np.int8)
    other = next(geometry for geometry in MaskGeometry if geometry is not QUICK.recipe.geometry)
    with pytest.raises(MaskNotRefinable):
        enroller.run(
            [EnrollmentPhoto(astronaut_photo)],
            progress=lambda _: None,
            cancelled=lambda: False,
            earlier=Mask.new(pixels, seed=0, geometry=other),
        )


def test_unknown_surrogates_are_named_at_once(runtime: OnnxRuntime, finder: FaceFinder) -> None:
    with pytest.raises(RecognizerUnknown):
        Enroller(runtime=runtime, finder=finder, settings=PipelineSettings(surrogates=("nobody",)))


def test_a_pool_of_anchors_is_used_and_checked(
    runtime: OnnxRuntime, finder: FaceFinder, astronaut_photo: bytes, tmp_path: Path
) -> None:
    crops = np.random.default_rng(1).uniform(0, 255, (20, 3, 112, 112)).astype(np.float32)
    path = tmp_path / "anchors.npz"
    path.write_bytes(AnchorPool.build(crops, runtime=runtime).to_bytes())
    with_pool = Enroller(runtime=runtime, finder=finder, settings=QUICK.model_copy(update={"anchors": str(path)}))
    without = Enroller(runtime=runtime, finder=finder, settings=QUICK)
    assert not np.array_equal(_run(with_pool, astronaut_photo).pixels, _run(without, astronaut_photo).pixels)
    with pytest.raises(AnchorPoolUnusable, match="more portraits"):
        AnchorPool.build(crops[:3], runtime=runtime)
    path.write_bytes(b"not a pool")
    with pytest.raises(AnchorPoolUnusable):
        Enroller(runtime=runtime, finder=finder, settings=QUICK.model_copy(update={"anchors": str(path)}))
