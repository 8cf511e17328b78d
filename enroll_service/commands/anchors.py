"""`facecloak anchors build`: an anchor pool from an operator's own portraits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facecloak.atomic_files import PUBLIC, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from facecloak.faces import FaceFinder


@click.group()
def anchors() -> None:
    """Anchor pools: what enrollment moves embeddings towards."""


@anchors.command()
@click.argument("portraits", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def build(portraits: Path, *, output: Path, as_json: bool) -> None:
    """Build an anchor pool from the portraits in DIR: one photo a person, at least 20 people.

    The pool holds averages only, nobody's own embedding. Photos without exactly one face are skipped and counted. Use
    the pool by FACECLOAK_ENROLL_ANCHORS.
    """
    from enroll_service.pipeline.perturb.anchors import AnchorPool
    from enroll_service.settings import EnrollSettings
    from facecloak.faces import FaceFinder
    from facecloak.recognizers.onnx_runtime import OnnxRuntime
    from facecloak_rpc.command import load_settings

    settings = load_settings(EnrollSettings)
    paths = sorted(path for path in portraits.iterdir() if path.is_file())
    crops = list(_crops(paths, finder=FaceFinder.load(settings.model_repository)))
    runtime = OnnxRuntime(settings.model_repository, names=settings.surrogates, threads=settings.threads)
    try:
        pool = AnchorPool.build(crops, runtime=runtime)
    finally:
        runtime.close()
    try:
        write_atomically(output, pool.to_bytes(), mode=PUBLIC)
    except OSError as error:
        raise click.FileError(str(output), hint=error.strerror or "cannot be written") from error
    skipped = len(paths) - len(crops)
    if as_json:
        click.echo(json.dumps({"portraits": len(crops), "skipped": skipped, "output": str(output)}))
    else:
        click.echo(f"{len(crops)} portraits used, {skipped} files skipped")


def _crops(paths: list[Path], *, finder: FaceFinder) -> Iterator[np.ndarray]:
    """Yields the aligned crop (3, 112, 112) float32 of every photo with exactly one face."""
    import numpy as np

    from facecloak.faces import aligned_crop
    from facecloak.photos import decode_photo
    from facecloak.photos.errors import PhotoRefused

    for path in paths:
        try:
            photo = decode_photo(path.read_bytes())
        except PhotoRefused:
            continue
        faces = finder.find(photo.srgb_u8)
        if len(faces) == 1:
            crop = aligned_crop(photo.srgb_u8, faces[0].landmarks)
            yield np.ascontiguousarray(crop.transpose(2, 0, 1), np.float32)
