"""Entry point: `python -m demo [--photos DIR]`, what `make demo` runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from demo.photos import DemoFailed, default_photos, own_photos
from facecloak.errors import FaceCloakError

OUT = Path("out/demo")
# Kept out of the demo's enrollment, so that somebody can tell how far protection carries over.
UNSEEN = "faceres"
STAGE_WORDS = {0: "starting", 1: "waiting", 2: "varying the photo", 3: "learning the mask", 4: "measuring the mask"}


@click.command()
@click.option("--photos", type=click.Path(path_type=Path), help="Your own photos: the first in name order is enrolled.")
@click.option("--unseen", default=UNSEEN, show_default=True, help="The recognizer to keep out of enrollment.")
@click.option("--repository", type=click.Path(path_type=Path), envvar="FACECLOAK_MODEL_REPOSITORY",
              default=Path("model_repository"), show_default=True, help="The folder of models.")  # fmt: skip
@click.option("--runtime", type=click.Choice(["onnxruntime", "triton"]), default="onnxruntime", show_default=True,
              help="Where enrollment's recognizers run: in the service, or on a real Triton server.")  # fmt: skip
def main(photos: Path | None, unseen: str, repository: Path, runtime: str) -> None:
    """Enrolls one photo, cloaks others through both services, and shows what recognizers make of them."""
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    try:
        _run(console, photos=photos, unseen=unseen, repository=repository.resolve(), on_triton=runtime == "triton")
    except (DemoFailed, FaceCloakError) as error:
        console.print(f"[red]demo:[/red] {error}", markup=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("stopped; both services are down")
        sys.exit(130)
    console.print(f"[dim]{time.monotonic() - started:.0f} s in all[/dim]")


def _run(console: Console, *, photos: Path | None, unseen: str, repository: Path, on_triton: bool) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    _pull_models(repository)
    with console.status("Bringing the demo photos"):
        cache = OUT / "photos"
        chosen = own_photos(photos, cache=cache) if photos else default_photos(cache)
    # Here, since these take a second to import and the messages above should not wait for them.
    from demo.client import cloak, enroll
    from demo.report import Findings, write_report
    from demo.services import running
    from demo.terminal import show
    from facecloak_studio.comparison import Observer, compare, similarities

    with console.status("Reading the photos"):
        observer = Observer(repository)
        if unseen not in observer.recognizers:
            raise DemoFailed(f"{unseen} is not among the recognizers: {', '.join(observer.recognizers)}")
        enrolled = observer.read(chosen.enrolled.data)
        originals = [observer.read(photo.data, like=enrolled.embeddings) for photo in chosen.cloaked]
    surrogates = [name for name in observer.recognizers if name != unseen]
    skipped: list[str] = []
    with ExitStack() as services:
        environment = _environment(repository, surrogates)
        if on_triton:
            with console.status("Starting Triton (the first time it is brought: 55 MB)"):
                url = services.enter_context(_triton(repository, surrogates))
            console.print(f"Triton on {url} serves the gradients of {', '.join(surrogates)}")
            environment["FACECLOAK_ENROLL_TRITON__URL"] = url
        with console.status("Starting both services"):
            enroll_service = services.enter_context(
                running("enroll", environment=environment, log=OUT / "enroll_service.log")
            )
            apply_service = services.enter_context(
                running("apply", environment=environment, log=OUT / "apply_service.log")
            )
        console.print(
            f"enroll_service on {enroll_service.target}, apply_service on {apply_service.target}: both SERVING"
        )
        began = time.monotonic()
        with _progress_bar(console) as bar:
            task = bar.add_task(f"Enrolling {chosen.enrolled.name}", total=1.0, detail="")
            enrollment = enroll(
                enroll_service.target,
                chosen.enrolled,
                progress=lambda event: bar.update(
                    task, completed=event.fraction, detail=event.detail or STAGE_WORDS.get(event.stage, "")
                ),
            )
            bar.update(task, completed=1.0, detail="done")
        enroll_seconds = time.monotonic() - began
        comparisons = []
        for photo, original in zip(chosen.cloaked, originals, strict=True):
            data, outcome = cloak(apply_service.target, photo, box=original.face.box if original.face else None)
            if outcome != "CLOAKED":
                skipped.append(f"{photo.name} was not cloaked: {outcome}.")
                console.print(f"[yellow]{photo.name}: {outcome}[/yellow]")
                continue
            path = OUT / "cloaked" / photo.name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            comparisons.append(
                compare(
                    observer, enrolled.embeddings, name=photo.name, before=photo.data, original=original, after=data
                )
            )
            console.print(f"cloaked {photo.name}")
    if not comparisons:
        raise DemoFailed("no photo was cloaked: " + " ".join(skipped))
    strangers = [
        similarities(reading.embeddings, enrolled.embeddings)
        for reading in (observer.read(photo.data) for photo in chosen.strangers)
    ]
    findings = Findings(
        enrolled_name=chosen.enrolled.name,
        enrolled=enrolled,
        enrollment=enrollment,
        unseen=unseen,
        comparisons=comparisons,
        strangers=strangers,
        enroll_seconds=enroll_seconds,
        remark=chosen.remark,
        skipped=skipped,
    )
    write_report(findings, OUT / "report.html")
    show(console, findings, report=OUT / "report.html")


def _environment(repository: Path, surrogates: list[str]) -> dict[str, str]:
    data = str((OUT / "data").resolve())
    quoted = ", ".join(f'"{name}"' for name in surrogates)
    return {
        "FACECLOAK_MODEL_REPOSITORY": str(repository),
        "FACECLOAK_ENROLL_PORT": "0",
        "FACECLOAK_APPLY_PORT": "0",
        "FACECLOAK_ENROLL_STORE__DATA": data,
        "FACECLOAK_APPLY_STORE__DATA": data,
        "FACECLOAK_ENROLL_SURROGATES": f"[{quoted}]",
    }


@contextmanager
def _triton(repository: Path, surrogates: list[str]) -> Iterator[str]:
    """A real Triton server that serves the surrogates; yields the address of its gRPC."""
    from facecloak.models.repository import ModelRepository
    from facecloak.recognizers.triton.dev_server.install import install
    from facecloak.recognizers.triton.dev_server.process import running_server
    from facecloak.recognizers.triton.profiles import CPU
    from facecloak.recognizers.triton.write_repository import build_repository

    try:
        built = build_repository(
            ModelRepository(repository), profile=CPU, names=surrogates, output=OUT / "triton_repository"
        )
        with running_server(install(), built, log=OUT / "triton.log") as server:
            yield server.url
    except FaceCloakError as error:
        raise DemoFailed(error.public_message) from error


def _pull_models(repository: Path) -> None:
    command = [sys.executable, "-m", "facecloak.cli", "models", "pull", "--repository", str(repository)]
    if subprocess.run(command, check=False).returncode:
        raise DemoFailed("the models could not be brought")


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[detail]}[/dim]"), console=console,
    )  # fmt: skip


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
