"""`facecloak audit`: reads and verifies the audit log, and compares the store with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from facecloak.stores.names import StoreNames
    from facecloak.stores.sealed import SealedMaskStore

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

    Lines that are missing at the end of a file are found by the files that were begun after it. What is missing since
    the last of those cannot be seen here: compare with where they are shipped.
    """
    from facecloak_rpc.audit import absent_files, verify_folder

    count = 0
    for one in verify_folder(folder, _names(data)):
        click.echo(f"{one.name}: {one.lines} lines{', and one that was not finished' if one.torn else ''}")
        count += 1
    click.echo(f"{count} files hold")
    if absent := absent_files(folder):
        click.echo(f"{len(absent)} files that others name are not here, such as {absent[0]}", err=True)


@audit.command()
@_FOLDER
@_DATA
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def compare(context: click.Context, *, folder: Path, data: Path | None, as_json: bool) -> None:
    """Verify the log in FOLDER, all processes' files together, and look in the store whether every user's mask is the
    one that was stored last. Exit code 1 where it is not: somebody put an older one back, or a deleted user's together
    with the removal of its tombstone, or took one away.

    Users are named by their pseudonyms: `facecloak audit show --user ID` finds whose one is.
    """
    from enroll_service.audit_comparison import compare as compared
    from facecloak_rpc.audit import entries, verify_folder

    store = _store(data)
    for _ in verify_folder(folder, store.names()):
        pass
    result = compared(entries(folder), store)
    if as_json:
        click.echo(json.dumps({**vars(result), "findings": [vars(one) for one in result.findings]}))
    else:
        for one in result.findings:
            click.echo(f"{one.what}: {f'{one.tenant} ' if one.tenant else ''}{one.user}")
        click.echo(f"{result.agree} agree, {result.unaccounted} the log does not know, {len(result.findings)} differ")
        if result.unreadable:
            click.echo(f"{result.unreadable} cannot be read", err=True)
    context.exit(1 if result.findings or result.unreadable else 0)


def _names(data: Path | None) -> StoreNames:
    return _store(data).names()


def _store(data: Path | None) -> SealedMaskStore:
    from enroll_service.settings import EnrollSettings
    from facecloak_rpc.command import load_settings
    from facecloak_rpc.storage import open_configured_store

    return open_configured_store(load_settings(EnrollSettings, data=data).store, begins=False)
