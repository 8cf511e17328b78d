"""Writes docs/formats.md: what becomes of each kind of file. `python -m tools.docs.format_table`; minutes on one core.

Every kind is made anew, cloaked by the library with a mask that adds and displaces nothing but levels, and opened.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from PIL import Image

from facecloak.cloaking.cloaker import Cloaker, Outcome, Subject
from facecloak.masks.mask import Mask
from facecloak.photos import PhotoLimits, PhotoRefused, decode_photo
from facecloak.photos.animation import decode_animation, read_animation
from facecloak.photos.photo import PhotoFormat
from tools.docs.format_kinds import KINDS, Make

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
LIMITS = PhotoLimits(formats=frozenset(PhotoFormat))
_HEAD = """# What becomes of each kind of file

Written by `python -m tools.docs.format_table`, which makes each file, cloaks it with the settings `heic` and `avif`
on, and opens what comes back; the tests make some of them again. What the names in the fourth column mean:
[api](api.md#what-else-is-in-the-file). Videos are out of scope. "Outside the face" is what is further from it than
the face is large: identical, or by how many levels of 255 it differs on average, because the file cannot be changed
in parts and is coded anew. "Nothing left" says that no byte for byte copy of the old thumbnail, gain map, video or
second picture is in the file. ffmpeg is tried where it is installed.

"""
_COLUMNS = (
    "kind",
    "taken",
    "outside the face",
    "metadata dropped or drawn anew",
    "nothing left",
    "Pillow",
    "OpenCV",
    "libvips",
    "ffmpeg",
)


@dataclass(frozen=True)
class Row:
    """What became of one kind; ``refused`` is the refusal's sentence, or empty."""

    kind: str
    refused: str = ""
    same_format: bool = False
    outside: str = ""
    dropped: tuple[str, ...] = ()
    nothing_left: bool = False
    opens: tuple[str, ...] = ()


def table_mask() -> Mask:
    """Levels that every coding keeps."""
    rng = np.random.default_rng(1)
    levels = cv2.GaussianBlur(rng.normal(0, 1, (112, 112, 3)), (0, 0), 4)
    return Mask.new((levels / np.abs(levels).max() * 40).round().astype(np.int8), seed=1)


def row_of(kind: str, make: Make, cloaker: Cloaker, face: np.ndarray) -> Row:
    """Makes a file, cloaks it and looks at what comes back."""
    made = make(face)
    try:
        result = cloaker.cloak(made.data, [Subject("user")])
    except PhotoRefused as refusal:
        return Row(kind, refused=refusal.public_message)
    if result.subjects[0].outcome is not Outcome.CLOAKED:
        return Row(kind, refused=str(result.subjects[0].outcome))
    photo = result.photo
    found = result.subjects[0].face
    assert found is not None
    return Row(
        kind,
        same_format=photo[:3] == made.data[:3] or photo[4:12] == made.data[4:12],
        outside=_outside(made.data, photo, found.box),
        dropped=result.dropped,
        nothing_left=not any(secret in photo for secret in made.secrets),
        opens=tuple(_openers(photo)),
    )


def _pixels(data: bytes) -> np.ndarray:
    header = read_animation(data, LIMITS)
    if header is not None:
        return decode_animation(data, header, limits=LIMITS).frames[0][:, :, :3]
    return decode_photo(data, limits=LIMITS).srgb_u8


def _outside(before: bytes, after: bytes, box: object) -> str:
    old, new = _pixels(before).astype(int), _pixels(after).astype(int)
    x, y, width, height = (int(getattr(box, name)) for name in ("x", "y", "width", "height"))
    difference = np.abs(old - new)
    difference[max(y - height, 0) : y + 2 * height, max(x - width, 0) : x + 2 * width] = 0
    if not difference.any():
        return "identical"
    return f"coded anew: {difference.mean():.2f}"


def _openers(data: bytes) -> Iterable[str]:
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        yield "Pillow"
    if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None:
        yield "OpenCV"
    try:
        import pyvips
    except (ImportError, OSError):
        return
    try:
        pyvips.Image.new_from_buffer(data, "").avg()
        yield "libvips"
    except pyvips.Error:
        pass
    if shutil.which("ffmpeg") is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            command = ["ffmpeg", "-v", "error", "-i", file.name, "-f", "null", "-"]
            if not subprocess.run(command, check=False, capture_output=True).returncode:
                yield "ffmpeg"


def page(rows: Iterable[Row]) -> str:
    """The page's text."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    return _HEAD + "\n".join([*lines, *map(row_text, rows)]) + "\n"


def row_text(row: Row) -> str:
    """A row of the page."""
    if row.refused:
        return f"| {row.kind} | no: {row.refused} |" + " |" * (len(_COLUMNS) - 2)
    dropped = ", ".join(f"`{name}`" for name in row.dropped) or "none"
    opened = ["yes" if name in row.opens else "no" for name in ("Pillow", "OpenCV", "libvips")]
    opened.append("yes" if "ffmpeg" in row.opens else "no" if shutil.which("ffmpeg") else "not tried")
    same = "yes, same format" if row.same_format else "yes"
    cells = [row.kind, same, row.outside, dropped, "yes" if row.nothing_left else "NO", *opened]
    return "| " + " | ".join(cells) + " |"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON, too.")
def main(*, as_json: bool) -> None:
    """Write docs/formats.md."""
    from skimage import data

    face = cv2.resize(np.ascontiguousarray(data.astronaut()), (256, 256), interpolation=cv2.INTER_AREA)
    cloaker = Cloaker.load({"user": table_mask()}, limits=LIMITS)
    rows = []
    for kind, make in KINDS.items():
        rows.append(row_of(kind, make, cloaker, face))
        if as_json:
            click.echo(json.dumps(asdict(rows[-1])))
    PAGE.write_text(page(rows))


if __name__ == "__main__":
    main()
