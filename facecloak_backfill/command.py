"""`facecloak backfill SRC DST`: plans a run, has it done, keeps its ledger, and reports."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facecloak.errors import FaceCloakError

if TYPE_CHECKING:
    from facecloak_backfill.job import BackfillJob
    from facecloak_backfill.ledger import RunLedger
    from facecloak_backfill.people import PhotoTask
    from facecloak_backfill.places import Place
    from facecloak_backfill.record import PhotoRecord
    from facecloak_backfill.report import SessionReport

_PHOTOS_A_BATCH = 8
# Of photos one after another, that failed by no fault of their own: then something that all need is away.
_GIVE_UP_AFTER = 100


class NothingWorks(FaceCloakError):
    """Many photos in a row could not be worked on, by no fault of theirs."""

    reason = "NOTHING_WORKS"


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option("--manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="CSV (path,user_id[,face]) or JSON lines: whose photo is whose.")  # fmt: skip
@click.option("--user-pattern", metavar="PATTERN", help="The user in a photo's name, such as photos/{user}/**.")
@click.option("--user", "user_id", help="One user for all photos.")
@click.option("--tenant", default="", help="The users' tenant, where the store has several.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of masks and key.")
@click.option("--run", default="backfill", show_default=True, metavar="NAME", help="Tells runs at one DST apart.")
@click.option("--workers", default=0, type=click.IntRange(0, 100_000), help="Processes or actors; 0: one a core.")
@click.option("--ray", "ray_address", metavar="ADDRESS", help="Work on this Ray cluster: HOST:PORT, or auto.")
@click.option("--accept", multiple=True, metavar="OUTCOME",
              help="Write a photo all the same if this was its outcome, such as NO_FACE. Repeatable.")  # fmt: skip
@click.option("--recloak", is_flag=True, help="Cloak again what contains an older mask of the user.")
@click.option("--include", multiple=True, metavar="GLOB", help="Only these names. Default: names of photos.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Not these names.")
@click.option("--smallest-bytes", default=0, type=click.IntRange(0), help="Skip smaller files, such as thumbnails.")
@click.option("--since", type=click.DateTime(), help="Skip what was changed before (local time).")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many photos: to try, and to measure.")
@click.option("--retry-dead", is_flag=True, help="Try again what could not be cloaked by an earlier session.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def backfill(
    *, source: str, destination: str, manifest: Path | None, user_pattern: str | None, user_id: str | None,
    tenant: str, data: Path | None, run: str, workers: int, ray_address: str | None, accept: tuple[str, ...],
    recloak: bool, include: tuple[str, ...], exclude: tuple[str, ...], smallest_bytes: int, since: datetime | None,
    limit: int | None, retry_dead: bool, as_json: bool,
) -> None:  # fmt: skip
    """Cloak the photos of an archive: from SRC to DST, each exactly once, under the same names.

    SRC and DST are folders, or s3://bucket/prefix (gs://, az://; the extra `backfill`, credentials as AWS_* and the
    like have them). Masks come from the apply service's store, set by FACECLOAK_APPLY_... or --data. What was done is
    kept in DST/.facecloak/RUN: the same command goes on where a run was stopped or killed.

    Exit codes: 0: all photos are at DST or skipped by a rule; 1: some are not, and the report says which; 2: wrong
    usage. docs/scale.md plans large runs.
    """
    given = [option for option in (manifest, user_pattern, user_id) if option is not None]
    if len(given) != 1:
        raise click.UsageError("say whose photos they are: by one of --manifest, --user-pattern and --user")
    from facecloak.cloaking.subject import Outcome
    from facecloak.users import check_tenant
    from facecloak_backfill.job import BackfillJob
    from facecloak_backfill.ledger import RunLedger
    from facecloak_backfill.places import open_place
    from facecloak_backfill.places.open_place import check_apart
    from facecloak_backfill.report import SessionReport, as_text
    from facecloak_backfill.report import as_json as to_json

    known = {outcome.value for outcome in Outcome if not outcome.is_cloaked}
    if unknown := sorted(set(accept) - known):
        raise click.UsageError(f"--accept {unknown[0]}: no such outcome; there are {', '.join(sorted(known))}")
    check_apart(source, destination)
    check_tenant(tenant)
    _check_masks(data)
    place, target = open_place(source), open_place(destination)
    ledger = RunLedger(target, run, source=source)
    if ledger.is_resumed:
        ledger.load(with_dead=not retry_dead)
        target.sweep()
    job = BackfillJob(
        source=source,
        destination=destination,
        data=data.absolute() if data else None,
        tenant=tenant,
        accepted=frozenset(accept),
        recloak=recloak,
        include=include,
        exclude=exclude,
        smallest_bytes=smallest_bytes,
        since=since.timestamp() if since else 0.0,
        resumed=ledger.is_resumed,
    )
    report = SessionReport()
    photos = _pending(_photos(place, manifest, user_pattern, user_id), job, ledger, report)
    done = _work(job, islice(photos, limit), ray_address=ray_address, workers=workers)
    try:
        _follow(done, ledger, report)
    finally:
        ledger.flush()
        requests = {kind: place.requests.get(kind, 0) + target.requests.get(kind, 0) for kind in ("get", "put", "list")}
        figures = report.figures(requests)
        name = ledger.write_report(to_json(figures))
        at = destination.rstrip("/")
        told = as_text(figures, report=f"{at}/{name}", dead_letters=f"{at}/{ledger.dead_letters}")
        text = to_json(figures).decode() if as_json else told
        click.echo(text)
    if figures["fates"]["dead"] or figures["fates"]["left"]:
        click.get_current_context().exit(1)


def _check_masks(data: Path | None) -> None:
    """Opens the masks' store once, before any work: a wrong key or place would fail every photo alike."""
    from apply_service.settings import ApplySettings
    from facecloak_rpc.command import load_settings
    from facecloak_rpc.storage import open_configured_store

    open_configured_store(load_settings(ApplySettings, data=data).store, begins=False).probe_reading()


def _photos(place: Place, manifest: Path | None, pattern: str | None, user_id: str | None) -> Iterator[PhotoTask]:
    from facecloak.limits import check_user_id
    from facecloak_backfill.people import from_manifest, from_names, user_by_pattern

    if manifest is not None:
        return from_manifest(manifest)
    names = place.names()
    if pattern is not None:
        return from_names(names, user_by_pattern(pattern))
    check_user_id(user_id or "")
    return from_names(names, lambda _: user_id)


def _pending(
    photos: Iterable[PhotoTask], job: BackfillJob, ledger: RunLedger, report: SessionReport
) -> Iterator[PhotoTask]:
    """Those that the rules let through and no earlier session has done."""
    for photo in photos:
        if not job.takes(photo.name):
            report.ruled_out += 1
        elif ledger.take(photo.name):
            yield photo
        else:
            report.known += 1


def _work(
    job: BackfillJob, photos: Iterator[PhotoTask], *, ray_address: str | None, workers: int
) -> Iterator[list[PhotoRecord]]:
    if ray_address is not None:
        from facecloak_backfill.ray_cluster import work_on_ray

        return work_on_ray(job, photos, address=ray_address, workers=workers)
    from facecloak_backfill.process_pool import work_in_processes

    batches = iter(lambda: tuple(islice(photos, _PHOTOS_A_BATCH)), ())
    return work_in_processes(job, batches, processes=workers or len(os.sched_getaffinity(0)))


def _follow(done: Iterator[list[PhotoRecord]], ledger: RunLedger, report: SessionReport) -> None:
    """Takes records as they come, and shows how far the run is."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from facecloak_backfill.record import Fate

    in_a_row = 0
    # How many photos there will be is known only once all are listed, which at 10^9 is never waited for.
    columns = [SpinnerColumn(), TextColumn("{task.completed} photos, {task.fields[speed]}"), TimeElapsedColumn(),
               TextColumn("[dim]{task.fields[detail]}")]  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, speed="", detail="")
        for records in done:
            ledger.add(records)
            report.add(records)
            for record in records:
                in_a_row = in_a_row + 1 if record.fate is Fate.LEFT else 0
            speed = bar.tasks[0].speed
            detail = ", ".join(f"{count} {fate}" for fate, count in report.fates.items())
            bar.update(task, completed=report.photos, speed=f"{speed:.1f} a second" if speed else "", detail=detail)
            if in_a_row >= _GIVE_UP_AFTER:
                last = records[-1]
                raise NothingWorks(f"{in_a_row} photos in a row failed, the last by {last.outcome}: {last.advice}")


def register(root: click.Group) -> None:
    """Adds backfill."""
    root.add_command(backfill)
