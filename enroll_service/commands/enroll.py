"""`facecloak enroll`: learns a user's mask, through the service or in process."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enroll_service.commands import validate
from enroll_service.commands.consent_options import InstantType, consent_of
from facecloak.cli import Refused
from facecloak.errors import FaceCloakError
from facecloak_rpc.box_option import BoxType
from facecloak_rpc.connection_options import connection_options

if TYPE_CHECKING:
    from enroll_service.jobs.request import Enrollment, EnrollmentRequest
    from enroll_service.pipeline.progress import Progress
    from facecloak_rpc.connection import Connection

Show = Callable[["Progress"], None]


@click.command()
@click.option("--user", "user_id", required=True, help="The user's id.")
@click.argument("photos", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", metavar="HOST:PORT", help="Enrollment service to ask; without it, the work is done here.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Folder for masks and their key; here only."
)
@click.option("--face", type=BoxType(), help="Box of the face, in pixels of the upright photo; for one PHOTO only.")
@click.option("--strength", type=click.Choice(["unnoticed", "natural", "strong"]), help="How visible the mask may be.")
@click.option("--kind", type=click.Choice(["full", "paint"]), help="Paint and displace, or only paint.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    help="Seed of the random choices, to make the same mask again; by default a fresh seed.",
)
@click.option("--add", is_flag=True, help="Refine the user's mask with these photos instead of making a new one.")
@click.option(
    "--leave-out-unfit",
    is_flag=True,
    help="Leave out photos that do not qualify, as long as one is left, instead of refusing all.",
)
@click.option("--consent", "consent_version", metavar="VERSION",
              help="Record the person's consent with the mask: the version of the text that was shown.")  # fmt: skip
@click.option("--consent-purpose", metavar="TEXT", help="What the consent is for; needed with --consent.")
@click.option("--consent-given", type=InstantType(), help="When the consent was given; by default now.")
@click.option("--consent-expires", type=InstantType(), help="When the consent expires; by default never.")
@click.option(
    "--validate-only",
    is_flag=True,
    help="Only check photos, consent, rights and the queue, and say whether the enrollment would be accepted.",
)
@click.option("--timeout", "timeout_seconds", type=click.FloatRange(min=1), default=900.0, show_default=True,
              help="Seconds to wait for the service.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the enrollment as JSON.")
@connection_options
def enroll(
    *, user_id: str, photos: tuple[Path, ...], target: str | None, data: Path | None, face: tuple[float, ...] | None,
    seed: int | None, strength: str | None, kind: str | None, add: bool, leave_out_unfit: bool, timeout_seconds: float,
    consent_version: str | None, consent_purpose: str | None, consent_given: datetime | None,
    consent_expires: datetime | None, validate_only: bool, as_json: bool, connection: Connection,
) -> None:  # fmt: skip
    """Make the mask of USER from 1 to 16 PHOTOS, each of which shows that person's face and no other
    (or, with --face, says which one it is).

    Replaces the user's earlier mask; with --add, carries it on: what was learned from earlier photos, which are not
    kept, stays in part. Exit code 1, and one line why, when a photo does not qualify; with --leave-out-unfit, when no
    photo does, or no one person is in most of those that do. With --validate-only the same, as far as it is known
    before the learning: not whether several photos show one person.
    """
    if target and data:
        raise click.UsageError("--data is for work done here: leave it out with --target")
    if face and len(photos) > 1:
        raise click.UsageError("--face is for one photo")
    consent = consent_of(consent_version, consent_purpose, given=consent_given, expires=consent_expires)
    from enroll_service.jobs.request import EnrollmentRequest
    from enroll_service.pipeline.intake.photo import EnrollmentPhoto
    from enroll_service.pipeline.strengths import MaskKind, Strength
    from facecloak.faces import Box

    box = Box(*face) if face else None
    contents = tuple(EnrollmentPhoto(path.read_bytes(), face=box) for path in photos)
    request = EnrollmentRequest(
        user_id=user_id,
        photos=contents,
        seed=seed,
        request_id=uuid.uuid4().hex,
        strength=Strength(strength) if strength else None,
        kind=MaskKind(kind) if kind else None,
        add=add,
        leave_out_unfit=leave_out_unfit,
        consent=consent,
    )
    if validate_only:
        with _named_photo(photos):
            if target:
                told = validate.validate_remotely(
                    request, target=target, timeout_seconds=timeout_seconds, connection=connection
                )
            else:
                told = validate.validate_here(request, data=data)
        click.echo(validate.as_json(told) if as_json else validate.as_text(told))
        return
    with _named_photo(photos), _progress_bar() as show:
        if target:
            enrollment = enroll_remotely(
                request, target=target, timeout_seconds=timeout_seconds, show=show, connection=connection
            )
        else:
            enrollment = enroll_here(request, data=data, show=show)
    click.echo(_as_json(enrollment) if as_json else _as_text(enrollment))


def enroll_remotely(
    request: EnrollmentRequest, *, target: str, timeout_seconds: float, show: Show, connection: Connection
) -> Enrollment:
    """Enrolls through EnrollUser. Raises RemoteError."""
    from enroll_service import convert
    from facecloak_rpc.client import open_client, remote_errors

    message = convert.request_to(request)
    # Leaving early, by Ctrl-C for one, closes the client, and that cancels the call.
    with open_client(enroll=target, connection=connection) as client, remote_errors(target):
        enrollment = client.enroll(
            message.user_id,
            message.photos,
            options=message.options,
            consent=message.consent if message.HasField("consent") else None,
            request_id=message.request_id,
            timeout_s=timeout_seconds,
        )
        for progress in enrollment:
            show(convert.progress_from(progress))
        return convert.enrollment_from(enrollment.result())


def enroll_here(request: EnrollmentRequest, *, data: Path | None, show: Show) -> Enrollment:
    """Enrolls in this process, on the local store. Raises what the service would answer with."""
    from enroll_service.server import build_domain
    from enroll_service.settings import EnrollSettings
    from facecloak_rpc.command import load_settings
    from facecloak_rpc.logging import configure_logging

    configure_logging(log_format="console", level="warning")
    domain = build_domain(load_settings(EnrollSettings, data=data))
    try:
        subscriber = domain.enrollments.enroll(request)
        for event in subscriber:
            show(event)
        return subscriber.result
    finally:
        # After Ctrl-C the work stops at its next iteration.
        domain.close()


@contextlib.contextmanager
def _named_photo(photos: Sequence[Path]) -> Iterator[None]:
    """Names the file that a refusal is about, and the faces to choose from, where that is what is to be done."""
    try:
        yield
    except FaceCloakError as error:
        index = error.metadata.get("photo", "")
        if not index.isdecimal() or int(index) >= len(photos):
            raise
        from facecloak_rpc.faces import faces_in

        boxes = [
            ",".join(str(round(number)) for number in (face.box.x, face.box.y, face.box.width, face.box.height))
            for face in faces_in(error)
        ]
        choice = f" Choose by --face: {' or '.join(boxes)}." if boxes else ""
        raise Refused(f"{photos[int(index)]}: {error.public_message}{choice} ({error.reason})") from error


@contextlib.contextmanager
def _progress_bar() -> Iterator[Show]:
    from rich import progress as rich_progress
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.fields[stage]:<11}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
               TextColumn("{task.description}", markup=False))  # fmt: skip
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, stage="queued")

        def show(event: Progress) -> None:
            bar.update(task, completed=event.fraction, description=event.detail, stage=event.stage.value)

        yield show


def _as_json(enrollment: Enrollment) -> str:
    document = {
        "mask_id": enrollment.mask_id,
        "created_at": enrollment.created_at,
        "versions": enrollment.versions,
        "report": enrollment.report.document(),
        "mask_count": enrollment.mask_count,
    }
    if enrollment.consent is not None:
        document["consent"] = enrollment.consent.to_fields()
    return json.dumps(document, indent=2, sort_keys=True)


def _as_text(enrollment: Enrollment) -> str:
    report = enrollment.report
    what = "mask" if enrollment.mask_count == 1 else f"bank of {enrollment.mask_count} masks"
    lines = [
        f"{what} {enrollment.mask_id} made {enrollment.created_at}",
        f"structural similarity on the enrolled photo: {report.ssim:.3f}",
    ]
    if report.jod is not None:
        lines.append(f"painted: JOD {report.jod:.2f} of 10, SSIMULACRA2 {report.ssimulacra2:.0f} of 100 (predicted)")
    if report.displacement is not None:
        moved = report.displacement
        lines.append(
            f"displaced: {moved.rms_percent:.1f} % of the eyes' distance, {moved.largest_percent:.1f} % at most"
        )
    if report.psr_estimate is not None:
        # Enrollment cannot know more: unseen recognizers are protected against less.
        lines.append(f"the surrogates would miss {report.psr_estimate:.0%} of the photos ({report.condition})")
    if enrollment.consent is not None:
        lines.append(f"consent to {enrollment.consent.text_version} of {enrollment.consent.given_at}")
    return "\n".join([*lines, *(f"warning: {warning}" for warning in report.warnings)])
