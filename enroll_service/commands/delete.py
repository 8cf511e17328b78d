"""`facecloak delete`: deletes a user's mask, through the service or in the local store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facecloak_rpc.connection_options import connection_options

if TYPE_CHECKING:
    from facecloak_rpc.connection import Connection


@click.command()
@click.option("--user", "user_id", required=True, help="The user's id.")
@click.option("--target", metavar="HOST:PORT", help="Enrollment service to ask; without it, the local store is used.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of masks and their key; here only."
)
@click.option(
    "--receipt",
    "receipt_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write the signed receipt to; `facecloak receipt verify` verifies it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@connection_options
def delete(
    *, user_id: str, target: str | None, data: Path | None, receipt_file: Path | None, as_json: bool,
    connection: Connection,
) -> None:  # fmt: skip
    """Delete the mask of USER for good. Deleting what is not there succeeds. A copy that is put back is refused.

    Apply services may use a cached mask for some seconds more.
    """
    if target and data:
        raise click.UsageError("--data is for the local store: leave it out with --target")
    if target:
        deleted, receipt = _delete_remotely(user_id, target=target, connection=connection)
    else:
        deleted, receipt = _delete_here(user_id, data=data)
    if receipt_file is not None and receipt:
        receipt_file.write_bytes(receipt + b"\n")
    if as_json:
        click.echo(json.dumps({"deleted": deleted}))
    else:
        click.echo("deleted" if deleted else "there was no mask")


def _delete_remotely(user_id: str, *, target: str, connection: Connection) -> tuple[bool, bytes]:
    from facecloak_rpc.client import open_client, remote_errors

    with open_client(enroll=target, connection=connection) as client, remote_errors(target):
        return client.erase(user_id)


def _delete_here(user_id: str, *, data: Path | None) -> tuple[bool, bytes]:
    """Whether there was a mask, and the receipt; none where there is no store."""
    from enroll_service.audited import AuditedStore
    from enroll_service.settings import EnrollSettings
    from facecloak.users import DEFAULT_TENANT, User
    from facecloak_rpc.audit import open_audit
    from facecloak_rpc.command import load_settings
    from facecloak_rpc.storage import open_configured_store

    user = User(DEFAULT_TENANT, user_id)
    settings = load_settings(EnrollSettings, data=data)
    if settings.store.is_untouched:
        return False, b""  # nobody was ever enrolled: nothing to delete, and no reason to begin a store
    store = open_configured_store(settings.store, begins=False)
    audit = open_audit(settings.audit, store.names)
    try:
        receipt = AuditedStore(store, audit).erase(user)
        return receipt.found, receipt.to_bytes()
    finally:
        audit.close()
