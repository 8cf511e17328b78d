"""Entry point: `python -m demo.looks [--people FOLDER]`, what `make looks` runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from demo.photos import DemoFailed
from facecloak.errors import FaceCloakError

SHOWN_PEOPLE = 12
_folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--people", "people_folder", type=_folder, help="NAME/enrol.jpg, NAME/photo1.jpg and on, as evaluate's.")
@click.option("--people-slice", default=f"1:{SHOWN_PEOPLE}", show_default=True, metavar="A:B", help="Whom of them.")
@click.option("--photo", default=4, show_default=True, help="Number of the photo of each that wears the mask.")
@click.option("--strength", "strengths", multiple=True, help="Only these strengths; default: all.")
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="A stage setting, as evaluate's.")
@click.option("--repository", type=_folder, envvar="FACECLOAK_MODEL_REPOSITORY",
              default=Path("model_repository"), show_default=True, help="The folder of models.")  # fmt: skip
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Enrollments at once.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("out/looks"), show_default=True)
def main(
    *, people_folder: Path | None, people_slice: str, photo: int, strengths: tuple[str, ...],
    overrides: tuple[str, ...], repository: Path, jobs: int, out: Path,
) -> None:  # fmt: skip
    """Cloak people's photos at every strength and write a page to look at.

    The astronaut and the demo's portraits, and people where a folder is given. Masks are kept, sealed, so that a second
    run is quick.
    """
    from demo.looks.run import look_at_all
    from demo.looks.subjects import astronaut, people, portraits
    from facecloak_evaluation.dataset import read_people

    console = Console(highlight=False)
    try:
        found = read_people(people_folder, selection=people_slice) if people_folder is not None else ()
        subjects = [astronaut()]
        try:
            subjects.append(portraits(out / "photos"))
        except DemoFailed as error:
            console.print(f"[yellow]looks:[/yellow] {error}", markup=True)
        subjects += people(found, probe=photo)
        path = look_at_all(
            subjects, strengths=strengths, overrides=overrides, repository=repository, jobs=jobs, out=out
        )
    except FaceCloakError as error:
        console.print(f"[red]looks:[/red] {error.public_message}", markup=True)
        sys.exit(1)
    console.print(f"[bold]{path}[/bold]: {len(subjects)} people")


if __name__ == "__main__":
    main()
