"""`facecloak keys`: which keys wrap the masks' data keys; changing them while the services run, retiring old ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from enroll_service.settings import EnrollSettings
    from facecloak.stores.sealed import SealedMaskStore

_DATA = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path),
    help="Folder of masks and their keys; without it, the store of FACECLOAK_ENROLL_STORE__*.",
)  # fmt: skip
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group()
def keys() -> None:
    """The keys that wrap the masks' data keys.

    To change a key of a key file: `keys add`, bring the file to every replica, `keys promote`, bring it again, `keys
    rotate`, `keys retire`. Running services pick up a changed file by themselves. Nobody has to enroll again.
    """


@keys.command("list")
@_DATA
@_JSON
def list_keys(*, data: Path | None, as_json: bool) -> None:
    """Print each key's id, whether it writes or is read with, and how many objects need it."""
    from facecloak.stores.rotation import needs

    _, store = _opened(data)
    counts, writing = needs(store), store.keyring.writing_key_id()
    known = store.keyring.key_ids()
    rows = [
        {"key": key, "use": _use(store, key, writing=writing), "objects": counts.get(key, 0)}
        for key in dict.fromkeys((*known, *(key for key in sorted(counts) if key)))
    ]
    if as_json:
        click.echo(json.dumps({"keys": rows, "damaged": counts.get("", 0)}))
        return
    for row in rows:
        click.echo(f"{row['key']}  {row['use']:8}  {row['objects']} objects")
    if counts.get(""):
        click.echo(f"{counts['']} damaged objects")


@keys.command()
@_DATA
def add(*, data: Path | None) -> None:
    """Add a random key to the key file, to be read with; prints its id."""
    from facecloak.stores.key_file import add_key

    settings = _settings(data)
    with _audited(settings, "key.add") as note:
        note["key"] = add_key(_key_file(settings))
    click.echo(note["key"])


@keys.command()
@click.argument("key_id")
@_DATA
def promote(*, key_id: str, data: Path | None) -> None:
    """Let KEY_ID of the key file wrap what is written from now on. Every replica must hold it before."""
    from facecloak.stores.key_file import put_first

    settings = _settings(data)
    with _audited(settings, "key.promote", key=key_id):
        put_first(_key_file(settings), key_id)


@keys.command()
@_DATA
@_JSON
def rotate(*, data: Path | None, as_json: bool) -> None:
    """Wrap every object's data key by the key that writes now, while the services run. Broken off, begin it again: it
    goes on where it was. Exit code 1 where an object could not be wrapped anew."""
    from facecloak.stores.rotation import rotate as rotate_keys

    settings, store = _opened(data)
    with _audited(settings, "key.rotate", key=store.keyring.writing_key_id()) as note:
        done = rotate_keys(store, progress=lambda count: _progress(count, quiet=as_json))
        note.update(rewrapped=done.rewrapped, unreadable=done.unreadable, changed=done.changed)
    if as_json:
        click.echo(json.dumps(vars(done)))
    else:
        click.echo(f"{done.rewrapped} wrapped anew, {done.current} were already", nl=done.is_complete)
        if not done.is_complete:
            click.echo(f"; {done.unreadable} cannot be read, {done.changed} changed meanwhile")
    click.get_current_context().exit(0 if done.is_complete else 1)


@keys.command()
@click.argument("key_id")
@_DATA
def retire(*, key_id: str, data: Path | None) -> None:
    """Take KEY_ID out of the key file; refused while any object needs it. A key of the environment or of a key server
    is only looked at: take it out of the settings then. Backups from before the rotation need it still."""
    from facecloak.stores.key_file import remove_key
    from facecloak.stores.rotation import require_unneeded

    settings, store = _opened(data)
    with _audited(settings, "key.retire", key=key_id):
        require_unneeded(store, key_id)
        if _by_file(settings) and store.keyring.holds(key_id) and ":" not in key_id:
            remove_key(settings.store.key_path, key_id)
            click.echo("retired")
            return
    click.echo("no object needs it: take it out of the settings")


def _settings(data: Path | None) -> EnrollSettings:
    from enroll_service.settings import EnrollSettings
    from facecloak_rpc.command import load_settings

    return load_settings(EnrollSettings, data=data)


def _opened(data: Path | None) -> tuple[EnrollSettings, SealedMaskStore]:
    from facecloak_rpc.storage import open_configured_store

    settings = _settings(data)
    return settings, open_configured_store(settings.store, begins=False)


def _by_file(settings: EnrollSettings) -> bool:
    return settings.store.key is None and settings.store.key_path.exists()


def _key_file(settings: EnrollSettings) -> Path:
    from facecloak.stores import KeyUnusable

    if not _by_file(settings):
        raise KeyUnusable("The keys are in no key file: change the settings instead.")
    return settings.store.key_path


def _use(store: SealedMaskStore, key: str, *, writing: str) -> str:
    if key == writing:
        return "writes"
    return "reads" if store.keyring.holds(key) or key in store.keyring.key_ids() else "missing"


def _progress(count: int, *, quiet: bool) -> None:
    if not quiet and count % 1000 == 0:
        click.echo(f"{count} objects", err=True)


@contextmanager
def _audited(settings: EnrollSettings, event: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Notes a key event in the audit log, and how it ended; what the block adds to the dictionary, too."""
    from facecloak.errors import FaceCloakError
    from facecloak_rpc.audit import open_audit
    from facecloak_rpc.storage import open_configured_store

    note: dict[str, Any] = dict(facts)
    audit = open_audit(settings.audit, lambda: open_configured_store(settings.store, begins=False).names())
    try:
        yield note
    except FaceCloakError as error:
        audit.record(event, outcome=error.reason, **note)
        raise
    else:
        audit.record(event, outcome="OK", **note)
    finally:
        audit.close()
