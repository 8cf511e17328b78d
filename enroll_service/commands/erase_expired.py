"""`facecloak erase-expired`: erases masks whose consent is over; for a daily job."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("erase-expired")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path),
    help="Folder of masks and their keys; without it, the store of FACECLOAK_ENROLL_STORE__*.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def erase_expired(*, data: Path | None, as_json: bool) -> None:
    """Erase every mask whose consent has expired, and what was put back of deleted users. Run it once a day: such
    masks are not used anyway. Safe while the services run. Exit code 1 where a mask could not be read."""
    from enroll_service.settings import EnrollSettings
    from facecloak.stores.expiry import erase_expired as erase
    from facecloak_rpc.audit import open_audit
    from facecloak_rpc.command import load_settings
    from facecloak_rpc.storage import open_configured_store

    settings = load_settings(EnrollSettings, data=data)
    store = open_configured_store(settings.store, begins=False)
    audit = open_audit(settings.audit, store.names)
    try:
        done = erase(store, erased=lambda name, why: audit.record("erase", outcome="ERASED", object=name, why=why))
    finally:
        audit.close()
    if as_json:
        click.echo(json.dumps(vars(done)))
    else:
        click.echo(f"{done.consent} erased, {done.deleted} of deleted users, {done.kept} kept")
        if done.unreadable:
            click.echo(f"{done.unreadable} cannot be read", err=True)
    click.get_current_context().exit(1 if done.unreadable else 0)
