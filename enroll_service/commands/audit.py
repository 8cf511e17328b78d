"""`facecloak audit`: reads and verifies the audit log."""

from __future__ import annotations

import json
from pathlib import Path

import click

_FOLDER = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
_DATA = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path),
    help="Folder of masks and their keys; without it, the store of FACECLOAK_ENROLL_STORE__*.",
)  # fmt: skip


@click.group()
def audit() -> None:
    """The audit log (FACECLOAK_ENROLL_AUDIT__FOLDER): enrollments, deletions, refusals, key events."""


@audit.command()
@_FOLDER
@click.option("--user", "user_id", help="Only this user's lines; needs the store's key, which makes the pseudonym.")
@click.option("--tenant", default="", help="The user's tenant.")
@_DATA
def show(*, folder: Path, user_id: str | None, tenant: str, data: Path | None) -> None:
    """Print the events of FOLDER as JSON lines, the oldest first. Does not verify them."""
    from facecloak.users import User
    from facecloak_rpc.audit import entries

    wanted = None if user_id is None else _names(data).pseudonym(User(tenant, user_id))
    for entry in entries(folder):
        if wanted is None or entry.get("user") == wanted:
            click.echo(json.dumps(entry))


@audit.command()
@_FOLDER
@_DATA
def verify(*, folder: Path, data: Path | None) -> None:
    """Verify each file's chain in FOLDER with the store's key. Exit code 1 where a line was changed, taken out or put
    in.

    That the last lines of a file, or whole files, are missing cannot be seen here: compare with where they are shipped.
    """
    from facecloak_rpc.audit import verify_folder

    count = 0
    for one in verify_folder(folder, _names(data)):
        click.echo(f"{one.name}: {one.lines} lines{', and one that was not finished' if one.torn else ''}")
        count += 1
    click.echo(f"{count} files hold")


def _names(data: Path | None):  # type: ignore[no-untyped-def]  # imported late
    from enroll_service.settings import EnrollSettings
    from facecloak_rpc.command import load_settings
    from facecloak_rpc.storage import open_configured_store

    return open_configured_store(load_settings(EnrollSettings, data=data).store, begins=False).names()
