"""`facecloak pool faces`: an operator's own portraits as a pool of faces to morph with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facecloak.atomic_files import PUBLIC, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enroll_service.pipeline.intake.portrait import Portrait
    from enroll_service.settings import EnrollSettings


@click.group()
def pool() -> None:
    """Pools of other faces, to morph the enrolled one with."""


@pool.command()
@click.argument("pictures", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JPEG to write.")
@click.option("--count", default=128, show_default=True, type=click.IntRange(1, 1024), help="Blends to make.")
@click.option("--seed", default=0, show_default=True, help="Of what is blended with what.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def faces(pictures: Path, *, output: Path, count: int, seed: int, as_json: bool) -> None:
    """Make a pool of faces from all faces in the pictures in DIR and below, at least 12.

    The pool is a sheet of blends, each of two people's faces: nobody's own. Faces that enrollment would refuse, or
    whose mesh is not found, are skipped and counted. Use the pool by FACECLOAK_ENROLL_FACE_POOL.
    """
    import numpy as np

    from enroll_service.pipeline.ops.similarity_scale import sameness
    from enroll_service.pipeline.synthesize.face_morphing import FacePool
    from enroll_service.settings import EnrollSettings
    from facecloak.recognizers.onnx_runtime import OnnxRuntime
    from facecloak_rpc.command import load_settings

    settings, skipped = load_settings(EnrollSettings), [0]
    found = list(_faces(pictures, settings=settings, skipped=skipped))
    scores = np.zeros((0, 0))
    if found:
        names = settings.surrogates
        runtime = OnnxRuntime(settings.model_repository, names=names, threads=settings.threads)
        try:
            crops = np.concatenate([portrait.crop for portrait in found])
            scores = sameness(crops, runtime=runtime, names=names)
        finally:
            runtime.close()
    made = FacePool.build(found, sameness=scores, count=count, seed=seed)
    _write(output, made.to_jpeg())
    if as_json:
        click.echo(json.dumps({"faces": len(found), "skipped": skipped[0], "blends": count, "output": str(output)}))
    else:
        click.echo(f"{count} blends of {len(found)} faces, {skipped[0]} skipped")


def _write(output: Path, data: bytes) -> None:
    try:
        write_atomically(output, data, mode=PUBLIC)
    except OSError as error:
        raise click.FileError(str(output), hint=error.strerror or "cannot be written") from error


def _faces(pictures: Path, *, settings: EnrollSettings, skipped: list[int]) -> Iterator[Portrait]:
    """Every usable face of every picture; ``skipped`` is added to for each file that is no photo and each face that is
    not usable."""
    from enroll_service.pipeline.errors import EnrollmentRefused
    from enroll_service.pipeline.intake.portrait import portrait_of
    from facecloak.faces import FaceFinder
    from facecloak.photos import decode_photo
    from facecloak.photos.errors import PhotoRefused

    finder = FaceFinder.load(settings.model_repository)
    for path in sorted(path for path in pictures.rglob("*") if path.is_file()):
        try:
            srgb_u8 = decode_photo(path.read_bytes()).srgb_u8
        except PhotoRefused:
            skipped[0] += 1
            continue
        for face in finder.find(srgb_u8):
            try:
                portrait = portrait_of(srgb_u8, hint=face.box, index=0, finder=finder, settings=settings.intake)
            except EnrollmentRefused:
                skipped[0] += 1
                continue
            if portrait.mesh is None:
                skipped[0] += 1
            else:
                yield portrait
