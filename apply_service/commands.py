"""`facecloak apply` and `facecloak serve apply`; they join `facecloak` through its entry-point group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facecloak.atomic_files import PUBLIC, write_atomically
from facecloak_rpc.box_option import BoxType
from facecloak_rpc.command import serve_command

if TYPE_CHECKING:
    from facecloak.cloaking.cloaker import Subject
    from facecloak_rpc.settings import RpcSettings


@click.command()
@click.option("--user", "user_id", required=True, help="The user's id.")
@click.argument("photo", metavar="IN", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option("--face", type=BoxType(), help="The user's face in the upright photo, pixels. Needed where several are.")
@click.option("--target", metavar="HOST:PORT", help="Apply service to ask; without it, the work is done here.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of masks and key; here only.")
@click.option("--timeout", "timeout_seconds", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
              help="Seconds to wait for the service.")  # fmt: skip
@click.option("--allow-uncloaked", is_flag=True, help="Write the photo unchanged, and succeed, if not cloaked.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def apply(
    *, user_id: str, photo: Path, output: Path, face: tuple[float, ...] | None, target: str | None, data: Path | None,
    timeout_seconds: float, allow_uncloaked: bool, as_json: bool,
) -> None:  # fmt: skip
    """Add the mask of USER to the photo IN. A photo that contains this mask already is written as it is.

    When the photo cannot be cloaked (no face, no mask, several faces and no --face, ...) the exit code is 1, the
    outcome is named, and nothing is written, unless --allow-uncloaked is given.
    """
    if target and data:
        raise click.UsageError("--data is for work done here: leave it out with --target")
    if output.exists() and output.samefile(photo):
        raise click.UsageError("the output must not be the input: a cloaked photo cannot be turned back")
    from facecloak.cloaking.cloaker import Subject
    from facecloak.faces import Box

    subject = Subject(user_id=user_id, box=Box(*face) if face else None)
    content = photo.read_bytes()
    if target:
        cloaked, outcome = _apply_remotely(content, subject, target=target, timeout_seconds=timeout_seconds)
    else:
        cloaked, outcome = _apply_here(content, subject, data=data)
    cloaked_now_or_before = outcome in ("CLOAKED", "ALREADY_CLOAKED")
    written = cloaked_now_or_before or allow_uncloaked
    if written:
        _write(output, cloaked)
    if as_json:
        click.echo(json.dumps({"outcome": outcome, "output": str(output) if written else None}))
    if not cloaked_now_or_before:
        note = "written unchanged" if written else "nothing was written"
        click.echo(f"facecloak: not cloaked: {outcome}; {note}", err=True)
        if not written:
            click.get_current_context().exit(1)


def _apply_remotely(content: bytes, subject: Subject, *, target: str, timeout_seconds: float) -> tuple[bytes, str]:
    from apply_service import convert
    from facecloak.v1 import apply_pb2_grpc
    from facecloak_rpc.client import open_channel, remote_errors

    with open_channel(target) as channel, remote_errors():
        stub = apply_pb2_grpc.ApplyServiceStub(channel)
        response = stub.ApplyCloak(convert.request_to(content, (subject,)), timeout=timeout_seconds)
    return response.photo, convert.outcomes_from(response)[subject.user_id]


def _apply_here(content: bytes, subject: Subject, *, data: Path | None) -> tuple[bytes, str]:
    from apply_service import convert
    from apply_service.server import build_domain
    from apply_service.settings import ApplySettings
    from facecloak_rpc.command import load_settings

    # Through the message and back: what the service refuses is refused here, in the same words.
    subjects = convert.subjects_from(convert.request_to(b"", (subject,)))
    result = build_domain(load_settings(ApplySettings, data=data)).cloaker.cloak(content, subjects)
    return result.photo, result.subjects[0].outcome.value


def _write(output: Path, content: bytes) -> None:
    """Writes the whole file or none of it."""
    try:
        write_atomically(output, content, mode=PUBLIC)
    except OSError as error:
        raise click.FileError(str(output), hint=error.strerror or "cannot be written") from error


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
    """Adds apply and `serve apply`."""
    root.add_command(apply)
    serve = root.commands.get("serve")
    if isinstance(serve, click.Group):
        serve.add_command(serve_apply)
