"""Where `facecloak apply` puts the photo: a file, whole or not at all, or standard output."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from facecloak.atomic_files import PUBLIC, write_atomically

STANDARD_OUTPUT = Path("-")

# What a file's name says of its format; names that say nothing of a picture's format are free.
_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".apng": "PNG", ".webp": "WebP",
    ".avif": "AVIF", ".bmp": "BMP", ".gif": "GIF", ".heic": "HEIC", ".heif": "HEIC", ".jp2": "JPEG 2000",
    ".jxl": "JPEG XL", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip


def check_output(output: Path, *, photo: Path, content: bytes) -> None:
    """Raises click.UsageError, before any work, where the photo in its own format cannot go there."""
    if output == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise click.UsageError("standard output is a terminal: send it to a file or another program")
        return
    if output.exists() and photo.samefile(output):
        raise click.UsageError("the output must not be the input: a cloaked photo cannot be turned back")
    named, actual = _FORMATS.get(output.suffix.lower()), _format_of(content)
    if named is not None and actual is not None and named != actual:
        raise click.UsageError(
            f"{output.name} is the name of a {named} file, and the photo is {actual}: a photo keeps its format"
        )


def write_photo(output: Path, content: bytes) -> None:
    """Writes the whole file or none of it."""
    if output == STANDARD_OUTPUT:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        write_atomically(output, content, mode=PUBLIC)
    except OSError as error:
        raise click.FileError(str(output), hint=error.strerror or "cannot be written") from error


def _format_of(content: bytes) -> str | None:
    from facecloak.photos import heif, jpeg, png, webp

    signatures: dict[str, re.Pattern[bytes]] = {"JPEG": jpeg.SIGNATURE, "PNG": png.SIGNATURE, "WebP": webp.SIGNATURE}
    if heif.SIGNATURE.match(content):
        return "AVIF" if content[8:12] in (b"avif", b"avis") else "HEIC"
    return next((name for name, signature in signatures.items() if signature.match(content)), None)
