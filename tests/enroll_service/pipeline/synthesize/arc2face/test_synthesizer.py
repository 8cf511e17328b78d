"""What is drawn is held to what a photo is held to, is seen by the surrogates, and is drawn again a bounded number of
times; and the whole way from photo to mask with the tiny pipeline."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from enroll_service.convert import enrollment_from, enrollment_to
from enroll_service.jobs.request import Enrollment
from enroll_service.pipeline.enroller import Enroller
from enroll_service.pipeline.errors import EnrollmentCancelled, SynthesisFailed, SynthesizerUnavailable
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.portrait import Portrait, portrait_of
from enroll_service.pipeline.ops.similarity_scale import as_crops
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.recipe import Arc2FaceRecipe, PerturbRecipe, Recipe, SynthesisRecipe
from enroll_service.pipeline.report import SynthesisReport
from enroll_service.pipeline.settings import (
    Arc2FaceSettings,
    IntakeSettings,
    PipelineSettings,
    SynthesizerName,
)
from enroll_service.pipeline.synthesize.arc2face.painter import Painter
from enroll_service.pipeline.synthesize.arc2face.synthesizer import Arc2FaceSynthesizer
from enroll_service.pipeline.synthesize.elastic import ElasticSynthesizer
from enroll_service.pipeline.synthesize.mesh import MeshSynthesizer
from facecloak.faces import ARCFACE_TEMPLATE, Box, Face, FaceFinder
from facecloak.masks.mask import MaskGeometry
from facecloak.recognizers.onnx_runtime import OnnxRuntime

SURROGATES = ("dlib_resnet", "mobileface")


class Album:
    """Draws what it is told to: the n-th picture drawn is the n-th of ``pictures``, again and again."""

    identity = "album-1"

    def __init__(self, *pictures: np.ndarray | None) -> None:
        self.pictures, self.asked, self.identities = pictures, [], []  # type: ignore[var-annotated]

    def draw(
        self, identity: np.ndarray, *, seeds: Sequence[int], checkpoint: Callable[[float], None]
    ) -> list[np.ndarray | None]:
        begun = sum(len(seeds) for seeds in self.asked)
        self.asked.append(list(seeds))
        self.identities.append(identity)
        checkpoint(0.0)
        return [self.pictures[(begun + index) % len(self.pictures)] for index in range(len(seeds))]


@pytest.fixture(scope="module")
def runtime(model_repository: Path) -> Iterator[OnnxRuntime]:
    runtime = OnnxRuntime(model_repository, names=(*SURROGATES, "fr_feature"), threads=1)
    yield runtime
    runtime.close()


@pytest.fixture(scope="module")
def finder(model_repository: Path) -> FaceFinder:
    return FaceFinder.load(model_repository)


@pytest.fixture(scope="module")
def likeness(astronaut_srgb_u8: np.ndarray) -> np.ndarray:
    """Another picture of the same person: mirrored and darker."""
    return np.ascontiguousarray((astronaut_srgb_u8[:, ::-1] * 0.8).astype(np.uint8))


@pytest.fixture(scope="module")
def portrait(astronaut_srgb_u8: np.ndarray, finder: FaceFinder) -> Portrait:
    return portrait_of(astronaut_srgb_u8, index=0, finder=finder, settings=IntakeSettings())


NOISE = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)


def _settings(*, recognizer: str = "fr_feature", **drawing: Any) -> PipelineSettings:
    recipe = Recipe(arc2face=Arc2FaceRecipe.model_validate({"repeats": 2, "redraws": 3} | drawing))
    return PipelineSettings(surrogates=SURROGATES, arc2face=Arc2FaceSettings(recognizer=recognizer), recipe=recipe)


def _synthesizer(
    album: Album, runtime: OnnxRuntime, finder: FaceFinder, settings: PipelineSettings
) -> Arc2FaceSynthesizer:
    variety = ElasticSynthesizer(settings.recipe.synthesis)
    return Arc2FaceSynthesizer(album, variety=variety, runtime=runtime, finder=finder, settings=settings)


def _made(synthesizer: Arc2FaceSynthesizer, *portraits: Portrait, count: int = 8, seed: int = 5) -> Variations:
    return synthesizer.synthesize(portraits, count=count, seed=seed, checkpoint=lambda _: None)


def test_pictures_of_the_person_are_kept_and_varied(
    runtime: OnnxRuntime, finder: FaceFinder, likeness: np.ndarray, portrait: Portrait
) -> None:
    album = Album(likeness)
    made = _made(_synthesizer(album, runtime, finder, _settings()), portrait)
    assert len(made) == 8
    assert [len(seeds) for seeds in album.asked] == [4]
    assert len(set(album.asked[0])) == 4
    assert (made.record.pictures_drawn, made.record.pictures_rejected) == (4, 0)
    assert made.warnings == ()
    assert "non-commercial" in made.record.license
    # The prompt is the named recognizer's embedding of the photo.
    assert np.allclose(album.identities[0], runtime.embed("fr_feature", portrait.crop)[0], atol=1e-6)


def test_what_is_not_the_person_is_drawn_again_and_counted(
    runtime: OnnxRuntime, finder: FaceFinder, likeness: np.ndarray, portrait: Portrait
) -> None:
    album = Album(likeness, None, likeness, NOISE, likeness, None, likeness)
    made = _made(_synthesizer(album, runtime, finder, _settings()), portrait)
    assert [len(seeds) for seeds in album.asked] == [4, 2, 1]
    assert len({seed for seeds in album.asked for seed in seeds}) == 7
    assert made.record.pictures_drawn == 7
    assert made.record.rejected_because == {"no_face": 1, "withheld": 2}
    assert made.warnings == ()


def test_redraws_are_bounded_and_a_shortfall_is_told(
    runtime: OnnxRuntime, finder: FaceFinder, likeness: np.ndarray, portrait: Portrait
) -> None:
    album = Album(likeness, *[None] * 20)
    made = _made(_synthesizer(album, runtime, finder, _settings()), portrait)
    assert made.record.pictures_drawn == 4 + 3
    assert (len(made), len(made.warnings)) == (8, 1)
    assert "1 of 4" in made.warnings[0]


def test_another_person_is_rejected(
    runtime: OnnxRuntime, finder: FaceFinder, portrait: Portrait, shared_dir: Path
) -> None:
    photo = (sorted((shared_dir / "faces" / "people").iterdir())[4] / "enrol.jpg").read_bytes()
    stranger = simplejpeg.decode_jpeg(photo, colorspace="RGB")
    with pytest.raises(SynthesisFailed) as failed:
        _made(_synthesizer(Album(stranger), runtime, finder, _settings()), portrait)
    assert failed.value.metadata == {"drawn": "7", "another_person": "7"}


def test_the_floor_decides(runtime: OnnxRuntime, finder: FaceFinder, likeness: np.ndarray, portrait: Portrait) -> None:
    with pytest.raises(SynthesisFailed):
        _made(_synthesizer(Album(likeness), runtime, finder, _settings(similarity_floor=10)), portrait)


def test_same_seed_same_pictures(
    runtime: OnnxRuntime, finder: FaceFinder, likeness: np.ndarray, portrait: Portrait
) -> None:
    asked = []
    for seed in (5, 5, 2**63 - 1):
        album = Album(likeness)
        _made(_synthesizer(album, runtime, finder, _settings()), portrait, count=2, seed=seed)
        asked.append(album.asked)
    assert asked[0] == asked[1] != asked[2]


def test_a_recognizer_of_another_size_or_none_is_refused(runtime: OnnxRuntime, finder: FaceFinder) -> None:
    with pytest.raises(SynthesizerUnavailable, match="512"):
        _synthesizer(Album(None), runtime, finder, _settings(recognizer="mobileface"))
    with pytest.raises(SynthesizerUnavailable, match=r"arc2face\.recognizer"):
        _synthesizer(Album(None), runtime, finder, _settings(recognizer=""))


def test_what_the_pictures_are_drawn_from_cannot_judge() -> None:
    assert _settings().recognizers == SURROGATES
    assert _settings().model_copy(update={"synthesizer": SynthesizerName.ARC2FACE}).recognizers == (
        *SURROGATES,
        "fr_feature",
    )


class FaceEverywhere:
    """A finder that takes a picture of the tiny pipeline for one face; photos it leaves to the real one."""

    def __init__(self, finder: FaceFinder) -> None:
        self._finder, self.identity = finder, finder.identity

    def find(self, srgb_u8: np.ndarray) -> list[Face]:
        side = srgb_u8.shape[0]
        if side > 16:
            return self._finder.find(srgb_u8)
        points = (ARCFACE_TEMPLATE * (side / 112)).astype(np.float32)
        return [Face(Box(0, 0, side, side), points, 1.0)]

    def mesh_of(self, srgb_u8: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        return self._finder.mesh_of(srgb_u8, landmarks) if srgb_u8.shape[0] > 16 else None


@pytest.fixture
def whole_way(whole_weights: Path, tiny: Callable[..., Arc2FaceSettings]) -> PipelineSettings:
    return PipelineSettings(
        surrogates=SURROGATES,
        intake=IntakeSettings(min_eye_distance_px=1, min_sharpness=0),
        synthesizer=SynthesizerName.ARC2FACE,
        arc2face=tiny(),
        recipe=Recipe(
            synthesis=SynthesisRecipe(variations=4),
            arc2face=Arc2FaceRecipe(steps=2, similarity_floor=-10, repeats=2),
            perturb=PerturbRecipe(iterations=2, batch=2),
        ),
    )


def test_from_photo_to_mask_with_the_tiny_pipeline(
    whole_way: PipelineSettings, runtime: OnnxRuntime, finder: FaceFinder, astronaut_photo: bytes, whole_weights: Path
) -> None:
    enroller = Enroller(runtime=runtime, finder=FaceEverywhere(finder), settings=whole_way)  # type: ignore[arg-type]
    mask, again = (
        enroller.run([EnrollmentPhoto(astronaut_photo)], progress=lambda _: None, cancelled=lambda: False, seed=4)
        for _ in range(2)
    )
    assert np.abs(mask.pixels).max() > 0
    assert np.array_equal(mask.pixels, again.pixels)
    assert mask.versions["synthesizer"].startswith("arc2face-1:")
    assert mask.versions["synthesizer"].endswith("+fr_feature+elastic-1")
    assert {"recognizer.fr_feature", "recognizer.mobileface"} <= set(mask.versions)
    assert mask.report["synthesis"]["pictures_drawn"] == 2
    # Where the weights lie is no business of whoever reads the mask.
    assert str(whole_weights) not in str(mask.report)
    told = enrollment_to(Enrollment.of(mask)).report.synthesis
    assert (told.synthesizer, told.pictures_drawn, told.pictures_rejected) == (mask.versions["synthesizer"], 2, 0)
    assert enrollment_from(enrollment_to(Enrollment.of(mask))).report.synthesis == SynthesisReport(
        synthesizer=told.synthesizer, pictures_drawn=2
    )


def test_pictures_are_turned_where_they_have_a_mesh(
    whole_way: PipelineSettings,
    runtime: OnnxRuntime,
    finder: FaceFinder,
    astronaut_photo: bytes,
) -> None:
    """The tiny pipeline's pictures have no mesh and are bent; the photo beside them is turned."""
    drawing = Arc2FaceRecipe(steps=2, similarity_floor=-10, repeats=4, variety=SynthesizerName.MESH)
    recipe = whole_way.recipe.model_copy(update={"arc2face": drawing})
    settings = whole_way.model_copy(update={"recipe": recipe})
    enroller = Enroller(runtime=runtime, finder=FaceEverywhere(finder), settings=settings)  # type: ignore[arg-type]
    mask = enroller.run([EnrollmentPhoto(astronaut_photo)], progress=lambda _: None, cancelled=lambda: False, seed=4)
    assert mask.versions["synthesizer"].endswith("+fr_feature+mesh-2")
    assert mask.report["synthesis"]["pictures"] == {"mesh-2": 2, "elastic-1": 2}
    assert mask.report["warnings"][0].startswith("The face's shape was not found")
    assert mask.geometry is MaskGeometry.FACE
    assert np.abs(mask.pixels).max() > 0


def test_a_drawn_likeness_is_turned_by_its_own_mesh(
    runtime: OnnxRuntime, finder: FaceFinder, likeness: np.ndarray, portrait: Portrait
) -> None:
    settings = _settings()
    variety = MeshSynthesizer(
        settings.recipe.synthesis, fallback=ElasticSynthesizer(settings.recipe.synthesis), in_face_frame=True
    )
    album = Album(likeness)
    made = _made(
        Arc2FaceSynthesizer(album, variety=variety, runtime=runtime, finder=finder, settings=settings), portrait
    )
    assert made.record.pictures == {"mesh-2": 8, "elastic-1": 0}
    assert made.grids is not None
    own = runtime.embed("fr_feature", portrait.crop)[0]
    assert float((runtime.embed("fr_feature", as_crops(made.crops)) @ own).min()) > 0.4


def test_nothing_but_a_cpu_synthesizer_varies_pictures() -> None:
    with pytest.raises(ValueError, match="variety"):
        Arc2FaceRecipe.model_validate({"variety": "arc2face"})


def test_photos_and_pictures_are_never_on_disk_and_gone_after_the_call(
    whole_way: PipelineSettings,
    runtime: OnnxRuntime,
    finder: FaceFinder,
    astronaut_photo: bytes,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    written: list[str] = []
    pictures: list[weakref.ref[np.ndarray]] = []
    watching = [False]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching[0] and event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.append(str(arguments[0]))

    draw = Painter.draw

    def remembered(self: Painter, *arguments: Any, **keywords: Any) -> list[np.ndarray | None]:
        drawn = draw(self, *arguments, **keywords)
        pictures.extend(weakref.ref(picture) for picture in drawn if picture is not None)
        return drawn

    monkeypatch.setattr(Painter, "draw", remembered)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    enroller = Enroller(runtime=runtime, finder=FaceEverywhere(finder), settings=whole_way)  # type: ignore[arg-type]
    sys.addaudithook(watch)  # it stays: hence the switch
    watching[0] = True
    try:
        enroller.run([EnrollmentPhoto(astronaut_photo)], progress=lambda _: None, cancelled=lambda: False, seed=4)
    finally:
        watching[0] = False
    assert written == []
    assert list((tmp_path / "temporary").iterdir()) == []
    gc.collect()
    assert len(pictures) == 2 + 8  # to learn from, and to measure on
    assert [picture() for picture in pictures if picture() is not None] == []


def test_noise_enrolls_nobody(
    whole_way: PipelineSettings, runtime: OnnxRuntime, finder: FaceFinder, astronaut_photo: bytes
) -> None:
    """What the tiny pipeline draws holds no face, and the real finder says so."""
    enroller = Enroller(runtime=runtime, finder=finder, settings=whole_way)
    with pytest.raises(SynthesisFailed) as failed:
        enroller.run([EnrollmentPhoto(astronaut_photo)], progress=lambda _: None, cancelled=lambda: False, seed=4)
    assert failed.value.metadata["no_face"] == failed.value.metadata["drawn"] == str(2 + 16)


def test_drawing_can_be_cancelled(
    whole_way: PipelineSettings, runtime: OnnxRuntime, finder: FaceFinder, astronaut_photo: bytes
) -> None:
    seen: list[str] = []
    enroller = Enroller(runtime=runtime, finder=FaceEverywhere(finder), settings=whole_way)  # type: ignore[arg-type]
    with pytest.raises(EnrollmentCancelled):
        enroller.run(
            [EnrollmentPhoto(astronaut_photo)],
            progress=lambda progress: seen.append(progress.stage),
            cancelled=lambda: len(seen) >= 4,
        )
    # Looking, making, the batch, its first step; and not one step more.
    assert seen == ["synthesize"] * 4
