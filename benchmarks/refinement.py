"""`python -m benchmarks.refinement`: whether refining a stored mask beats a new one from the new photo alone.

Each person's `enrol.jpg` is enrolled; then `photo1.jpg` comes. Four masks: from the first photo, from the second alone,
the first refined with the second, and from both at once (which needs the first photo kept: the ceiling). The others of
the person's photos are cloaked, re-encoded at JPEG 85 and found afresh, and two recognizers that no mask has seen look
for the nearest photo among the person's other clean ones and those of strangers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

SCHEMA = "facecloak-refinement/1"
FILES = ("earlier", "new alone", "refined", "both at once")


@click.command()
@click.option("--people", "people_folder", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--others", "others_folder", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--slice", "selection", default="1:20", show_default=True, help="People, in name order.")
@click.option("--strangers", default=200, show_default=True, type=click.IntRange(1))
@click.option("--surrogate", "surrogates", multiple=True, default=("dlib_resnet", "mobileface"), show_default=True)
@click.option("--judge", "judges", multiple=True, default=("fr_feature", "faceres"), show_default=True)
@click.option("--iterations", default=40, show_default=True, type=click.IntRange(1))
@click.option("--pull", default=None, type=click.FloatRange(0, 1), help="In place of the setting refining_pull.")
@click.option("--repository", type=click.Path(exists=True, file_okay=False, path_type=Path),
              default=Path("model_repository"), show_default=True, envvar="FACECLOAK_MODEL_REPOSITORY")  # fmt: skip
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
def main(
    *, people_folder: Path, others_folder: Path, selection: str, strangers: int, surrogates: tuple[str, ...],
    judges: tuple[str, ...], iterations: int, pull: float | None, repository: Path, out: Path,
) -> None:  # fmt: skip
    """Measure refining on PEOPLE against OTHERS."""
    import cv2
    import torch

    from enroll_service.pipeline import EnrollmentRefused, PerturbRecipe, PipelineSettings, Recipe
    from enroll_service.pipeline.enroller import Enroller
    from enroll_service.pipeline.intake.photo import EnrollmentPhoto
    from facecloak.faces import FaceFinder
    from facecloak.masks.bank import StoredMask
    from facecloak.photos import decode_photo
    from facecloak.recognizers.onnx_runtime import OnnxRuntime
    from facecloak_evaluation.dataset import read_others, read_people
    from facecloak_evaluation.face_extraction import FaceExtractor
    from facecloak_evaluation.ledger import provenance, write_json

    if set(surrogates) & set(judges):
        raise click.UsageError("a surrogate cannot judge")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    recipe = Recipe(perturb=PerturbRecipe(iterations=iterations))
    if pull is not None:
        recipe = recipe.model_copy(update={"refining_pull": pull})
    settings = PipelineSettings(surrogates=surrogates, recipe=recipe)
    runtime = OnnxRuntime(repository, names=(*surrogates, *judges), threads=1)
    finder = FaceFinder.load(repository)
    enroller = Enroller(runtime=runtime, finder=finder, settings=settings)
    extractor = FaceExtractor(finder)
    seen = [
        extractor.see_clean(decode_photo(path.read_bytes()).srgb_u8) for path in read_others(others_folder)[:strangers]
    ]
    gallery = [one.crop_u8 for one in seen if one is not None]
    began = time.process_time()

    def enroll(*files: Path, earlier: StoredMask | None = None) -> StoredMask:
        photos = [EnrollmentPhoto(file.read_bytes()) for file in files]
        return enroller.run(photos, progress=lambda _: None, cancelled=lambda: False, earlier=earlier, seed=0)

    people: list[dict[str, Any]] = []
    refused = 0
    for person in read_people(people_folder, selection=selection):
        try:
            first = enroll(person.enroll_photo)
            masks = {
                "earlier": first,
                "new alone": enroll(person.photos[1]),
                "refined": enroll(person.photos[1], earlier=first),
                "both at once": enroll(person.enroll_photo, person.photos[1]),
            }
        except EnrollmentRefused:
            refused += 1
            continue
        probes = person.numbered(range(2, 9))
        people.append(_judged(masks, probes, gallery, judges=judges, runtime=runtime, extractor=extractor))
        click.echo(f"{len(people)} people, {time.process_time() - began:.0f} s of processor time", err=True)
    result = {
        "schema": SCHEMA,
        **provenance(),
        "settings": settings.model_dump(mode="json", exclude={"anchors", "arc2face"}),
        "judges": list(judges),
        "people": {"slice": selection, "measured": len(people), "refused": refused},
        "strangers": len(gallery),
        "condition": "cloaked, JPEG 85 4:2:0, found afresh by the services' finder; gallery: the person's other probes "
        "unmasked and the strangers",
        "cpu_seconds": round(time.process_time() - began, 1),
        "masks": {name: _mean([person[name] for person in people]) for name in ("none", *FILES)},
    }
    write_json(out, result)
    for name, figures in result["masks"].items():
        click.echo(f"{name:<13} {figures}")


def _judged(
    masks: Mapping[str, Any], probes: Sequence[Path], gallery: Sequence[np.ndarray], *, judges: Sequence[str],
    runtime: Any, extractor: Any,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """By mask (and without one): SSIM and what people see of the 112 crop, and by judge the share of missed probes and
    the mean cosine to the person's other clean photos."""
    from facecloak.cloaking.cloaker import Cloaker, MasksInMemory
    from facecloak.cloaking.subject import Subject
    from facecloak.faces import aligned_crop
    from facecloak.photos import decode_photo
    from facecloak_evaluation.face_extraction import embed
    from facecloak_evaluation.platforms import PLATFORMS
    from facecloak_evaluation.visibility import visibility_to_people

    files = [path.read_bytes() for path in probes]
    clean = [(data, decode_photo(data).srgb_u8) for data in files]
    faces = [(data, pixels, extractor.person_in(pixels)) for data, pixels in clean]
    faces = [entry for entry in faces if entry[2] is not None]
    own = [aligned_crop(pixels, face.landmarks) for _, pixels, face in faces]
    uncloaked = {name: embed(runtime, name, own) for name in judges}
    strangers = {name: embed(runtime, name, gallery) for name in judges}
    figures: dict[str, dict[str, float]] = {}
    for kind, mask in {"none": None, **masks}.items():
        crops, alike = [], []
        for (data, pixels, face), plain in zip(faces, own, strict=True):
            delivered = pixels
            if mask is not None:
                cloaked = Cloaker(extractor.finder, MasksInMemory({"one": mask})).cloak(
                    data, [Subject(user_id="one", box=face.box)]
                )
                delivered = decode_photo(cloaked.photo).srgb_u8
            alike.append(visibility_to_people(plain, aligned_crop(delivered, face.landmarks)))
            crops.append(extractor.see_uploaded(delivered, known=face, platform=PLATFORMS["jpeg85"]).crop_u8)
        figures[kind] = {"ssim": float(np.mean([seen.ssim for seen in alike]))}
        for name in ("jod", "ssimulacra2", "flip_99"):
            values = [value for value in (getattr(seen, name) for seen in alike) if value is not None]
            if values:
                figures[kind][name] = float(np.mean(values))
        for name in judges:
            seen = embed(runtime, name, crops)
            own_scores = seen @ uncloaked[name].T
            np.fill_diagonal(own_scores, np.nan)
            nearest_own = np.nanmax(own_scores, axis=1)
            figures[kind][f"psr1 {name}"] = float(np.mean((seen @ strangers[name].T).max(axis=1) > nearest_own))
            figures[kind][f"cosine {name}"] = float(np.nanmean(own_scores))
    return figures


def _mean(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([person[name] for person in figures])), 3) for name in figures[0]}


if __name__ == "__main__":
    main()
