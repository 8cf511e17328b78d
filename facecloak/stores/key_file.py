"""Changing a key file: a key is added to be read with, put first to write, and taken out once no object needs it."""

from __future__ import annotations

from pathlib import Path

from facecloak.atomic_files import write_atomically
from facecloak.stores import keys
from facecloak.stores.errors import KeyUnusable
from facecloak.stores.sealing import Sealer


def add_key(path: Path) -> str:
    """Puts a new random key last, to be read with; its id. Raises :class:`KeyUnusable`."""
    lines = _lines(path)
    if len(lines) >= keys.MAX_KEYS:
        raise KeyUnusable(f"A key file has at most {keys.MAX_KEYS} keys: retire some.")
    text = keys.new_key()
    _write(path, [*lines, text])
    return Sealer.from_base64(text).key_id


def put_first(path: Path, key_id: str) -> None:
    """Lets a key of the file write from now on. Raises :class:`KeyUnusable`."""
    lines = _lines(path)
    chosen = _line_of(lines, key_id)
    _write(path, [chosen, *(line for line in lines if line != chosen)])


def remove_key(path: Path, key_id: str) -> None:
    """Takes a key out; the caller has made sure that nothing needs it. Raises :class:`KeyUnusable`."""
    lines = _lines(path)
    chosen = _line_of(lines, key_id)
    if lines[0] == chosen:
        raise KeyUnusable("The first key of a key file writes: put another one first.")
    _write(path, [line for line in lines if line != chosen])


def _lines(path: Path) -> list[str]:
    keys.keys_from_file(path, make=False)  # refuses what is no key file
    return path.read_text("ascii").split()


def _line_of(lines: list[str], key_id: str) -> str:
    found = [line for line in lines if Sealer.from_base64(line).key_id == key_id]
    if not found:
        raise KeyUnusable("The key file holds no such key.", key=key_id)
    return found[0]


def _write(path: Path, lines: list[str]) -> None:
    try:
        write_atomically(path, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise KeyUnusable("The key file cannot be written.") from error
