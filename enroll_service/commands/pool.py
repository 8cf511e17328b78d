"""`facecloak pool build`: what an operator's own portraits tell about light."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enroll_service.settings import EnrollSettings
    from enroll_service.stages.intake import Portrait


@click.group()
def pool() -> None:
    """Pools of borrowed variety: how photos of one person differ."""


@pool.command()
@click.argument("portraits", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def build(portraits: Path, *, output: Path, as_json: bool) -> None:
    """Build a pool from the portraits in DIR: a folder for each person with two photos or more, at least 10 people.

    The pool holds how light and color of a person's photos differ from each other, in 14 x 14 cells of the face: no
    picture and no embedding. Photos that enrollment would refuse, or whose face has no mesh, are skipped and counted.
    Use the pool by FACECLOAK_ENROLL_STAGES__SYNTHESIS__LIGHT_POOL.
    """
    from enroll_service.settings import EnrollSettings
    from enroll_service.stages.borrowed import LightPool
    from facecloak_rpc.command import load_settings

    settings = load_settings(EnrollSettings)
    folders = sorted(path for path in portraits.iterdir() if path.is_dir())
    count = [0, 0]
    made = LightPool.build(_people(folders, settings=settings, count=count))
    try:
        output.write_bytes(made.to_bytes())
    except OSError as error:
        raise click.FileError(str(output), hint=error.strerror or "cannot be written") from error
    used, skipped = count
    if as_json:
        click.echo(json.dumps({"people": made.people, "photos": used, "skipped": skipped, "output": str(output)}))
    else:
        click.echo(f"{used} photos of {made.people} people used, {skipped} files skipped")


def _people(folders: list[Path], *, settings: EnrollSettings, count: list[int]) -> Iterator[list[Portrait]]:
    """The usable portraits of each folder; ``count`` is added to: photos used, files skipped."""
    from enroll_service.photo import EnrollmentPhoto
    from enroll_service.stages.errors import EnrollmentRefused
    from enroll_service.stages.intake import admit
    from facecloak.faces import FaceFinder
    from facecloak.photos.errors import PhotoRefused

    finder = FaceFinder.load(settings.model_repository)
    for folder in folders:
        found: list[Portrait] = []
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            try:
                photo = EnrollmentPhoto(path.read_bytes())
                portrait = admit(photo, index=0, finder=finder, settings=settings.stages.intake)
            except (PhotoRefused, EnrollmentRefused):
                count[1] += 1
                continue
            if portrait.mesh is None:
                count[1] += 1
            else:
                found.append(portrait)
        count[0] += len(found)
        yield found
