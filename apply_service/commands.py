"""`facecloak apply`, `faces` and `serve apply`; they join `facecloak` through its entry-point group."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from apply_service.output import STANDARD_OUTPUT, check_output, write_photo
from facecloak.errors import FaceCloakError
from facecloak_rpc.box_option import BoxType
from facecloak_rpc.command import serve_command
from facecloak_rpc.connection_options import connection_options

if TYPE_CHECKING:
    from facecloak.cloaking.cloaker import Cloaker
    from facecloak.cloaking.face_search import FoundFaces
    from facecloak.v1 import apply_pb2
    from facecloak_client import FaceCloakClient
    from facecloak_rpc.connection import Connection
    from facecloak_rpc.settings import RpcSettings

    _Answering = Callable[[apply_pb2.ApplyCloakRequest], apply_pb2.ApplyCloakResponse]

Answer = TypeVar("Answer")


@click.command()
@click.option("--user", "user_id", required=True, help="The user's id.")
@click.argument("photo", metavar="IN", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(allow_dash=True, path_type=Path),
              help="File to write, in the photo's own format or a folder; - is standard output.")  # fmt: skip
@click.option("--face", type=BoxType(), help="The user's face in the upright photo, pixels. Needed where several are.")
@click.option("--target", metavar="HOST:PORT", help="Apply service to ask; without it, the work is done here.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of masks and key; here only.")
@click.option("--timeout", "timeout_seconds", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
              help="Seconds to wait for the service.")  # fmt: skip
@click.option("--recloak", is_flag=True, help="Cloak a photo again that contains an older mask of the user.")
@click.option("--allow-uncloaked", is_flag=True, help="Write the photo unchanged, and succeed, if not cloaked.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@connection_options
def apply(
    *, user_id: str, photo: Path, output: Path, face: tuple[float, ...] | None, target: str | None, data: Path | None,
    timeout_seconds: float, recloak: bool, allow_uncloaked: bool, as_json: bool,
    connection: Connection,
) -> None:  # fmt: skip
    """Add the mask of USER to the photo IN, and print what was done. A photo that contains a mask of USER already is
    written as it is.

    IN may be a folder: then every photo in it is cloaked, under the same relative name in the folder OUTPUT, and a
    report says at the end which were not. It is for some hundred photos; `facecloak backfill` is for archives.

    When the photo cannot be cloaked (no face, no mask, several faces and no --face, ...) the exit code is 1, the
    outcome is named, and nothing is written, unless --allow-uncloaked is given. Of a folder, the others are written
    all the same. With -o - what was done is printed to standard error.
    """
    if target and data:
        raise click.UsageError("--data is for work done here: leave it out with --target")
    answer = _answering(target, timeout_seconds=timeout_seconds, connection=connection, data=data)
    if photo.is_dir():
        if face is not None:
            raise click.UsageError("--face is for one photo, not for a folder")
        options = {"recloak": recloak, "allow_uncloaked": allow_uncloaked, "as_json": as_json}
        _apply_to_folder(photo, output, user_id, answer=answer, **options)
        return
    if output.is_dir():
        raise click.UsageError(f"{output} is a folder, and the photo is one file: name the file to write")
    content = photo.read_bytes()
    check_output(output, photo=photo, content=content)
    from apply_service import convert
    from facecloak.cloaking.cloaker import Subject
    from facecloak.faces import Box
    from facecloak.v1 import apply_pb2

    subject = Subject(user_id=user_id, box=Box(*face) if face else None)
    request = convert.request_to(content, (subject,), require_cloaked=not allow_uncloaked, recloak=recloak)
    try:
        response = answer(request)
    except FaceCloakError as error:
        refused = convert.not_cloaked_from(error)
        if refused is None:
            raise
        response = apply_pb2.ApplyCloakResponse(subjects=refused, encoding_path=apply_pb2.ENCODING_PATH_UNCHANGED)
    result = convert.subject_result_from(response.subjects[0])
    written = result.outcome.is_cloaked or allow_uncloaked
    if written:
        write_photo(output, response.photo)
    record = {"output": str(output) if written else None, **convert.record_of(response)}
    click.echo(json.dumps(record) if as_json else _as_text(record), err=output == STANDARD_OUTPUT)
    if not result.outcome.is_cloaked:
        note = "written unchanged" if written else "nothing was written"
        click.echo(f"facecloak: not cloaked: {result.outcome}; {note}. {result.advice}".strip(), err=True)
        if not written:
            click.get_current_context().exit(1)


@click.command()
@click.argument("photo", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", metavar="HOST:PORT", help="Apply service to ask; without it, the work is done here.")
@click.option("--timeout", "timeout_seconds", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
              help="Seconds to wait for the service.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the faces as JSON, with their five points.")
@connection_options
def faces(*, photo: Path, target: str | None, timeout_seconds: float, as_json: bool, connection: Connection) -> None:
    """Print the faces that PHOTO shows, largest first, each as --face of `facecloak apply` and `enroll` takes it."""
    from apply_service import convert

    content = photo.read_bytes()
    if target:
        answer = _ask(
            target, lambda client: client.find_faces(content, timeout_s=timeout_seconds), connection=connection
        )
        found = convert.faces_from(answer)
    else:
        found = _find_here(content)
    if as_json:
        records = [convert.face_record(face) for face in found.faces]
        click.echo(json.dumps({"width": found.width, "height": found.height, "faces": records}))
        return
    for face in found.faces:
        box = face.box
        place = ",".join(str(round(number)) for number in (box.x, box.y, box.width, box.height))
        click.echo(f"{place}  score {face.score:.2f}")
    if not found.faces:
        click.echo("facecloak: no face was found", err=True)


def _ask(target: str, call: Callable[[FaceCloakClient], Answer], *, connection: Connection) -> Answer:
    from facecloak_rpc.client import open_client, remote_errors

    with open_client(apply=target, connection=connection) as client, remote_errors(target):
        return call(client)


def _answering(target: str | None, *, timeout_seconds: float, connection: Connection, data: Path | None) -> _Answering:
    """Who answers requests: the service at ``target``, or this process."""
    if not target:
        return _answering_here(data)
    return lambda request: _ask(
        target,
        lambda client: client.apply(
            request.photo,
            request.subjects,
            require_cloaked=request.require_cloaked,
            recloak=request.recloak,
            timeout_s=timeout_seconds,
        ),
        connection=connection,
    )


def _answering_here(data: Path | None) -> _Answering:
    """Answers as the service would; what it refuses is refused here, in the same words. Opens store and finder once, at
    the first request that is well formed."""

    @cache
    def opened() -> Cloaker:
        from apply_service.server import build_domain
        from apply_service.settings import ApplySettings
        from facecloak_rpc.command import load_settings

        return build_domain(load_settings(ApplySettings, data=data)).cloaker

    def answer(request: apply_pb2.ApplyCloakRequest) -> apply_pb2.ApplyCloakResponse:
        from apply_service import convert

        subjects = convert.subjects_from(request)
        result = opened().cloak(request.photo, subjects, recloak=request.recloak)
        if request.require_cloaked:
            convert.require_cloaked(result)
        return convert.response_to(result, request_id="")

    return answer


def _apply_to_folder(
    source: Path, output: Path, user_id: str, *, answer: _Answering, recloak: bool, allow_uncloaked: bool, as_json: bool
) -> None:
    """Exit code 1 unless every photo is cloaked, or was allowed not to be."""
    from rich.console import Console
    from rich.progress import track

    from apply_service import convert, folder
    from facecloak.cloaking.cloaker import Subject
    from facecloak.photos import read_photo

    folder.check_folders(source, output)

    def cloak(path: Path) -> apply_pb2.ApplyCloakResponse:
        # Not required to be cloaked: the answer then tells all, and what is written is decided by it.
        return answer(convert.request_to(read_photo(path), (Subject(user_id=user_id),), recloak=recloak))

    photos = list(folder.photos_in(source))
    seen = track(photos, description=source.name, console=Console(stderr=True), transient=True)
    records: list[dict[str, Any]] = []
    try:
        folder.cloak_folder(seen, output, cloak=cloak, allow_uncloaked=allow_uncloaked, done=records.append)
    finally:
        click.echo(folder.report_json(records) if as_json else folder.report_text(records))
    written = [record for record in records if record["output"]]
    if len(written) < len(records):
        click.echo(f"facecloak: {len(records) - len(written)} of {len(records)} photos were not written", err=True)
        click.get_current_context().exit(1)


def _find_here(content: bytes) -> FoundFaces:
    """Without a store: there need not be one."""
    from apply_service.settings import ApplySettings
    from facecloak.cloaking.face_search import faces_of
    from facecloak.faces import FaceFinder
    from facecloak_rpc.command import load_settings

    settings = load_settings(ApplySettings)
    finder = FaceFinder.load(settings.model_repository, threads=settings.threads)
    return faces_of(content, finder=finder, limits=settings.photo_limits)


def _as_text(record: dict[str, Any]) -> str:
    lines = [f"{record['outcome']}: {record['output'] or 'not written'}"]
    if record["face"] is not None:
        lines.append("face: " + ",".join(str(round(number)) for number in record["face"]["box"]))
    if record["placement"] is not None:
        lines.append(f"placed by: {record['placement']}, strength {record['strength']:.2f}")
    if record["mask_id"] is not None:
        lines.append(f"mask: {record['mask_id']}")
    if record["dropped_metadata"]:
        lines.append("dropped metadata: " + ", ".join(record["dropped_metadata"]))
    if record["c2pa_signed"]:
        lines.append("signed: the photo has a C2PA manifest")
    lines += [
        "a face to choose by --face: " + ",".join(str(round(number)) for number in face["box"])
        for face in record["faces"]
    ]
    return "\n".join(lines)


def _settings_class() -> type[RpcSettings]:
    from apply_service.settings import ApplySettings

    return ApplySettings


def _run(settings: Any) -> int:
    from apply_service.serve import serve

    return serve(settings)


serve_apply = serve_command(
    "apply",
    summary="Run the apply service until SIGTERM. Settings: FACECLOAK_APPLY_... (see --print-config).",
    settings_class=_settings_class,
    run=_run,
)


def register(root: click.Group) -> None:
    """Adds apply, faces and `serve apply`."""
    root.add_command(apply)
    root.add_command(faces)
    serve = root.commands.get("serve")
    if isinstance(serve, click.Group):
        serve.add_command(serve_apply)
