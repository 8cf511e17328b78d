"""FaceCloak from Python: what `import facecloak` offers, without gRPC."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import facecloak
from enroll_service.pipeline import NoFace, PerturbRecipe, PipelineSettings, Recipe, SynthesisRecipe
from facecloak.errors import InvalidInput
from facecloak.faces import FaceFinder, aligned_crop
from facecloak.photos import decode_photo
from facecloak.photos.errors import PhotoTooLarge
from facecloak.recognizers import OnnxRuntime

ROOT = Path(__file__).resolve().parent.parent
QUICK = PipelineSettings(
    surrogates=("mobileface",),
    recipe=Recipe(
        synthesis=SynthesisRecipe(variations=4), perturb=PerturbRecipe(iterations=6, batch=4),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def mask(astronaut_photo: bytes, model_repository: Path) -> facecloak.Mask:
    told: list[float] = []
    made = facecloak.enroll(
        astronaut_photo, settings=QUICK, seed=7, model_repository=model_repository,
        progress=lambda progress: told.append(progress.fraction),
    )  # fmt: skip
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert isinstance(made, facecloak.Mask)
    return made


def test_five_lines(mask: facecloak.Mask, astronaut_photo: bytes, model_repository: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(astronaut_photo)
    result = facecloak.apply(photo, mask, model_repository=model_repository)
    assert result.subjects[0].outcome is facecloak.Outcome.CLOAKED
    before, after = decode_photo(astronaut_photo).srgb_u8, decode_photo(result.photo).srgb_u8
    face = FaceFinder.load(model_repository).find(before)[0]
    crops = np.stack([aligned_crop(pixels, face.landmarks) for pixels in (before, after)]).transpose(0, 3, 1, 2)
    one, other = OnnxRuntime(model_repository, names=["mobileface"]).embed("mobileface", crops.astype(np.float32))
    assert float(one @ other) < 0.8
    # The bytes say that they are cloaked: doing it again changes nothing.
    again = facecloak.apply(result.photo, mask, model_repository=model_repository)
    assert (again.photo, again.subjects[0].outcome) == (result.photo, facecloak.Outcome.ALREADY_CLOAKED)


def test_a_cloaker_for_many_photos(mask: facecloak.Mask, astronaut_photo: bytes, model_repository: Path) -> None:
    cloaker = facecloak.Cloaker.load({"alice": mask}, model_repository=model_repository)
    subjects = [facecloak.Subject("alice"), facecloak.Subject("bob")]
    outcomes = [one.outcome.value for one in cloaker.cloak(astronaut_photo, subjects).subjects]
    assert outcomes == ["CLOAKED", "NO_MASK"]


def test_a_mask_is_kept_as_bytes(mask: facecloak.Mask) -> None:
    assert facecloak.mask_from_bytes(mask.to_bytes()).mask_id == mask.mask_id


def test_the_same_seed_gives_the_same_mask(
    mask: facecloak.Mask, astronaut_photo: bytes, model_repository: Path
) -> None:
    again = facecloak.enroll([astronaut_photo], settings=QUICK, seed=7, model_repository=model_repository)
    assert np.array_equal(again.masks[0].pixels, mask.pixels)


def test_a_photo_without_a_face_is_never_given_back_as_cloaked(mask: facecloak.Mask, model_repository: Path) -> None:
    empty = cv2.imencode(".png", np.full((200, 200, 3), 99, np.uint8))[1].tobytes()
    with pytest.raises(facecloak.PhotoNotCloaked, match="NO_FACE") as refused:
        facecloak.apply(empty, mask, model_repository=model_repository)
    assert (refused.value.reason, refused.value.result.photo) == ("NOT_CLOAKED", empty)
    left = facecloak.apply(empty, mask, allow_uncloaked=True, model_repository=model_repository)
    assert (left.photo, left.subjects[0].outcome) == (empty, facecloak.Outcome.NO_FACE)
    with pytest.raises(NoFace):
        facecloak.enroll(empty, settings=QUICK, model_repository=model_repository)


def test_what_is_no_input_is_refused(mask: facecloak.Mask, model_repository: Path, tmp_path: Path) -> None:
    for photos in ([], [b"photo"] * 17):
        with pytest.raises(InvalidInput, match="1 to 16 photos"):
            facecloak.enroll(photos, settings=QUICK, model_repository=model_repository)
    with pytest.raises(InvalidInput, match="strength"):
        facecloak.enroll(b"photo", strength="no such", settings=QUICK, model_repository=model_repository)
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(40 * 2**20)
    with pytest.raises(PhotoTooLarge):
        facecloak.apply(large, mask, model_repository=model_repository)
    with pytest.raises(FileNotFoundError):
        facecloak.apply(tmp_path / "none.jpg", mask, model_repository=model_repository)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_importing_costs_nothing_and_names_need_no_extra() -> None:
    heavy = ("torch", "onnx", "grpc", "skimage", "kornia")
    done = python(
        "import sys, facecloak\n"
        "assert not {'numpy', 'cv2', 'onnxruntime', 'pydantic'} & set(sys.modules), sorted(sys.modules)\n"
        f"for name in {heavy}: sys.modules[name] = None\n"
        "assert all(hasattr(facecloak, name) for name in facecloak.__all__)\n"
        "assert set(facecloak.__all__) <= set(dir(facecloak))\n"
        "assert not hasattr(facecloak, 'no_such_name')\n"
    )
    assert done.returncode == 0, done.stderr


def test_without_the_extra_the_error_says_what_to_install() -> None:
    done = python("import sys, facecloak; sys.modules['torch'] = None; facecloak.enroll(b'photo')")
    assert done.returncode == 1
    assert "pip install 'facecloak[enroll]'" in done.stderr


def test_the_types_are_those_of_the_names() -> None:
    declared = {
        alias.asname: node.module
        for node in ast.parse((ROOT / "facecloak" / "__init__.pyi").read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == {**facecloak._HOMES, **facecloak.LEARNING}


@pytest.mark.slow
def test_an_evaluation(shared_dir: Path, model_repository: Path, tmp_path: Path) -> None:
    from facecloak_evaluation.protocol import EvaluationProtocol

    told: dict[str, tuple[int, int]] = {}
    document = facecloak.evaluate(
        shared_dir / "faces" / "people",
        people_slice="21:22",
        recognizers=["sface"],
        settings=QUICK,
        protocol=EvaluationProtocol(probe_photos=(4,)),
        work=tmp_path,
        model_repository=model_repository,
        progress=lambda kind, done, total: told.update({kind: (done, total)}),
    )
    assert document["rounds"][0]["surrogates"][0]["name"] == "mobileface"
    assert 0 <= document["headline"]["psr"]["value"] <= 1
    assert told["enroll"] == (2, 2)
    assert all(done == total for done, total in told.values())


def test_an_evaluation_without_evaluators_is_refused(model_repository: Path, tmp_path: Path) -> None:
    from facecloak_evaluation.errors import EvaluationInputInvalid, PlanInvalid

    with pytest.raises(PlanInvalid):
        facecloak.evaluate(tmp_path, model_repository=model_repository)
    with pytest.raises(EvaluationInputInvalid, match="nobody"):
        facecloak.evaluate(tmp_path, recognizers=["sface"], model_repository=model_repository)


def test_a_gallery_that_is_too_small_is_refused_before_the_work(model_repository: Path, tmp_path: Path) -> None:
    from facecloak_evaluation.errors import EvaluationInputInvalid

    person = tmp_path / "ann"
    person.mkdir()
    for name in ("enrol.jpg", *(f"photo{number}.jpg" for number in range(1, 8))):
        (person / name).write_bytes(b"")
    with pytest.raises(EvaluationInputInvalid, match="PSR@5 looks at 5"):
        facecloak.evaluate(tmp_path, recognizers=["sface"], model_repository=model_repository)
