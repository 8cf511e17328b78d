"""`facecloak receipt`: verifies receipts of deletion."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import click

_DATA = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path),
    help="Folder of masks and their keys; without it, the store of FACECLOAK_ENROLL_STORE__*.",
)  # fmt: skip


@click.group()
def receipt() -> None:
    """Receipts of deletion, which DeleteUser answers with."""


@receipt.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--public-key", help="What `receipt public-key` printed; without it, the store's own is asked for.")
@_DATA
def verify(*, file: Path, public_key: str | None, data: Path | None) -> None:
    """Verify that the store signed the receipt in FILE as it is, and print what it says. Exit code 1 if not."""
    from facecloak.stores.receipts import MAX_RECEIPT_BYTES, DeletionReceipt

    with file.open("rb") as opened:
        found = DeletionReceipt.from_bytes(opened.read(MAX_RECEIPT_BYTES + 1))
    found.verify(_public_key(data) if public_key is None else _decoded(public_key))
    what = "a mask was deleted" if found.found else "there was no mask"
    tenant = f" of tenant {found.tenant}" if found.tenant else ""
    click.echo(f"genuine: user {found.user_id!r}{tenant}, {found.deleted_at}, {what}, store {found.store}")


@receipt.command("public-key")
@_DATA
def print_public_key(*, data: Path | None) -> None:
    """Print the key that the store's receipts are verified with, in base64. It is not secret: publish it."""
    click.echo(base64.b64encode(_public_key(data)).decode())


def _public_key(data: Path | None) -> bytes:
    from enroll_service.settings import EnrollSettings
    from facecloak.stores.receipts import public_key_of
    from facecloak_rpc.command import load_settings
    from facecloak_rpc.storage import open_configured_store

    store = open_configured_store(load_settings(EnrollSettings, data=data).store, begins=False)
    return public_key_of(store.names())


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise click.BadParameter("it is not base64", param_hint="--public-key") from error
