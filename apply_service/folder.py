"""`facecloak apply` on a folder: every photo in it, under the same relative name, and what became of each."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apply_service.output import write_photo
from facecloak.errors import ErrorCode, FaceCloakError

if TYPE_CHECKING:
    from facecloak.v1 import apply_pb2

_SIGNATURE_BYTES = 32
# They say that something about this photo is wrong. Others say that the service or the store is: the next photo would
# meet the same.
_OF_THE_PHOTO = (ErrorCode.INVALID_ARGUMENT, ErrorCode.FAILED_PRECONDITION)
_OF_THE_SERVICE = {"FINDER_MODEL_MISSING", "MASK_FORMAT_UNSUPPORTED", "WRONG_KEY"}


@dataclass(frozen=True)
class FolderPhoto:
    """A photo of the folder: where it is, and its name relative to the folder."""

    path: Path
    name: Path


def check_folders(source: Path, output: Path) -> None:
    """Raises click.UsageError where what is written could be read again, or takes a photo's place."""
    if output.exists() and not output.is_dir():
        raise click.UsageError(f"{output} is a file: photos of a folder go to a folder")
    here, there = source.resolve(), output.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise click.UsageError("neither folder may lie in the other: a cloaked photo cannot be turned back")


def photos_in(folder: Path) -> Iterator[FolderPhoto]:
    """Every JPEG, PNG and WebP, by what the files hold and not by their names, in the order of their names.

    Hidden files and folders are left out, and so are folders behind symbolic links.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts) and path.is_file() and _is_photo(path):
            yield FolderPhoto(path, name)


def cloak_folder(
    photos: Iterable[FolderPhoto],
    output: Path,
    *,
    cloak: Callable[[Path], apply_pb2.ApplyCloakResponse],
    allow_uncloaked: bool,
    done: Callable[[dict[str, Any]], None],
) -> None:
    """Cloaks the photos, one after another, and writes each beneath ``output``, whole or not at all.

    Args:
        cloak: answers for one file; what it raises about the photo is told of that photo, and the others go on.
        allow_uncloaked: write also, unchanged, what could not be cloaked.
        done: told what became of each, as it is made: ``photo``, ``output`` (None: not written), ``outcome`` (or an
            error's reason), ``advice``, and for a photo that was worked on the fields of
            :func:`apply_service.convert.record_of`.

    Raises:
        FaceCloakError: one that is not about a photo, such as a store that does not answer.
        click.FileError: a photo cannot be written.
    """
    for photo in photos:
        done(_cloaked(photo, output, cloak=cloak, allow_uncloaked=allow_uncloaked))


def is_cloaked(record: dict[str, Any]) -> bool:
    """Whether the photo that a record tells of contains the user's mask."""
    from facecloak.cloaking.subject import Outcome

    return record["outcome"] in [outcome for outcome in Outcome if outcome.is_cloaked]


def report_text(records: list[dict[str, Any]]) -> str:
    """The report: how many of each outcome, and every photo that is not cloaked, with the reason."""
    counts = Counter(record["outcome"] for record in records)
    lines = [f"{len(records)} photos: " + (", ".join(f"{count} {name}" for name, count in counts.most_common()) or "-")]
    for record in records:
        if not is_cloaked(record):
            note = "written unchanged" if record["output"] else "not written"
            lines.append(f"{record['photo']}: {record['outcome']}, {note}. {record['advice']}".rstrip())
    return "\n".join(lines)


def report_json(records: list[dict[str, Any]]) -> str:
    """The same for programs, with every photo."""
    counts = dict(Counter(record["outcome"] for record in records).most_common())
    return json.dumps({"photos": records, "counts": counts})


def _cloaked(
    photo: FolderPhoto, output: Path, *, cloak: Callable[[Path], apply_pb2.ApplyCloakResponse], allow_uncloaked: bool
) -> dict[str, Any]:
    from apply_service import convert

    record: dict[str, Any] = {"photo": str(photo.name), "output": None}
    try:
        response = cloak(photo.path)
    except FaceCloakError as error:
        if error.code not in _OF_THE_PHOTO or error.reason in _OF_THE_SERVICE:
            raise
        return record | {"outcome": error.reason, "advice": error.public_message}
    except OSError as error:
        return record | {"outcome": "UNREADABLE", "advice": error.strerror or "The file cannot be read."}
    record |= convert.record_of(response)
    if is_cloaked(record) or (allow_uncloaked and response.photo):
        target = output / photo.name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_photo(target, response.photo)
        record["output"] = str(target)
    return record


def _is_photo(path: Path) -> bool:
    from facecloak.photos import jpeg, png, webp

    signatures: tuple[re.Pattern[bytes], ...] = (jpeg.SIGNATURE, png.SIGNATURE, webp.SIGNATURE)
    try:
        with path.open("rb") as file:
            head = file.read(_SIGNATURE_BYTES)
    except OSError:
        # It is told as a photo that cannot be read, and not left out in silence.
        return path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")
    return any(signature.match(head) for signature in signatures)
