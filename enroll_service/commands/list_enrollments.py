"""`facecloak list`: who is enrolled, through the service or in the local store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facecloak_rpc.connection_options import connection_options

if TYPE_CHECKING:
    from facecloak.stores import ListedMask
    from facecloak_rpc.connection import Connection


@click.command("list")
@click.option("--target", metavar="HOST:PORT", help="Enrollment service to ask; without it, the local store is read.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of masks and their key; here only."
)
@click.option("--json", "as_json", is_flag=True, help="Print each user as a line of JSON.")
@connection_options
def list_enrollments(*, target: str | None, data: Path | None, as_json: bool, connection: Connection) -> None:
    """List who is enrolled: user id, mask id, when it was made, kind and strength, and when the consent ends.

    The order has no meaning. Masks that an earlier release stored do not say whose they are: they are only counted, on
    standard error. So are masks that cannot be read, and then the exit code is 1.
    """
    if target and data:
        raise click.UsageError("--data is for the local store: leave it out with --target")
    counts: Counter[str] = Counter()
    listed = _listed_remotely(target, connection, counts) if target else _listed_here(data, counts)
    for one in listed:
        click.echo(_as_json(one) if as_json else _as_text(one))
    if counts["unnamed"]:
        click.echo(f"{counts['unnamed']} more do not say whose they are: enroll them anew to list them", err=True)
    if counts["unreadable"]:
        click.echo(f"{counts['unreadable']} cannot be read", err=True)
    click.get_current_context().exit(1 if counts["unreadable"] else 0)


def _listed_remotely(target: str, connection: Connection, counts: Counter[str]) -> Iterator[ListedMask]:
    from enroll_service.convert import listed_from
    from facecloak_rpc.client import open_client, remote_errors

    with open_client(enroll=target, connection=connection) as client, remote_errors(target):
        for page in client.enrollment_pages():
            counts.update(unnamed=page.unnamed_count, unreadable=page.unreadable_count)
            yield from map(listed_from, page.users)


def _listed_here(data: Path | None, counts: Counter[str]) -> Iterator[ListedMask]:
    from enroll_service.audited import AuditedStore
    from enroll_service.settings import EnrollSettings
    from facecloak.stores.listing import MAX_PAGE
    from facecloak.users import DEFAULT_TENANT
    from facecloak_rpc.audit import open_audit
    from facecloak_rpc.command import load_settings
    from facecloak_rpc.storage import open_configured_store

    settings = load_settings(EnrollSettings, data=data)
    if settings.store.is_untouched:
        return  # nobody was ever enrolled, and that is no reason to begin a store
    store = open_configured_store(settings.store, begins=False)
    audit = open_audit(settings.audit, store.names)
    audited, token = AuditedStore(store, audit), ""
    try:
        while True:
            page = audited.list_masks(DEFAULT_TENANT, limit=MAX_PAGE, token=token)
            counts.update(unnamed=page.unnamed, unreadable=page.unreadable)
            yield from page.masks
            token = page.next_token
            if not token:
                return
    finally:
        audit.close()


def _as_json(listed: ListedMask) -> str:
    return json.dumps(
        {
            "user_id": listed.user.user_id,
            "mask_id": listed.mask_id,
            "created_at": listed.created_at,
            "kind": listed.kind,
            "strength": listed.strength,
            "expires_at": listed.expires_at or None,
            "consent_expired": listed.is_expired,
            "epoch": listed.epoch,
        },
        ensure_ascii=False,
    )


def _as_text(listed: ListedMask) -> str:
    what = " ".join(part for part in (listed.kind, listed.strength) if part) or "mask"
    ends = f", consent {'ended' if listed.is_expired else 'until'} {listed.expires_at}" if listed.expires_at else ""
    return f"{listed.user.user_id}: {what} {listed.mask_id} of {listed.created_at}{ends}"
