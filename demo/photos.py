"""The demo's photos: the user's own folder, or a few from a pinned, openly licensed package."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from facecloak.atomic_files import PUBLIC, write_atomically

# MIT-licensed, see NOTICE. pip checks the hash before the archive is used for anything.
REQUIREMENT = "face_recognition==1.3.0 --hash=sha256:5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec\n"
ARCHIVE = "face_recognition-1.3.0.tar.gz"
MEMBER_FOLDER = "face_recognition-1.3.0/tests/test_images"
MEMBER_BYTES_LIMIT = 4 * 2**20
ENROLLED, CLOAKED, STRANGERS = "obama.jpg", ("obama2.jpg", "obama3.jpg"), ("biden.jpg",)
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
PHOTO_BYTES_LIMIT = 32 * 2**20


class DemoFailed(Exception):
    """The demo cannot go on; the text says why and what to do."""


@dataclass(frozen=True)
class NamedPhoto:
    """A photo file's name and bytes."""

    name: str
    data: bytes


@dataclass(frozen=True)
class PhotoSet:
    """What the demo works on.

    Attributes:
        enrolled: the photo that the mask is learned from.
        cloaked: the photos that the mask is added to.
        strangers: photos of other people, to compare similarities with.
        remark: what the viewer should know about the choice; may be empty.
    """

    enrolled: NamedPhoto
    cloaked: tuple[NamedPhoto, ...]
    strangers: tuple[NamedPhoto, ...]
    remark: str


def own_photos(folder: Path, *, cache: Path) -> PhotoSet:
    """The user's folder: the first photo in name order is enrolled, the others are cloaked."""
    if not folder.is_dir():
        raise DemoFailed(f"there is no folder {folder}")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise DemoFailed(f"{folder} holds no JPEG, PNG or WebP photo")
    photos = [_read(path) for path in paths]
    remark = ""
    if len(photos) == 1:
        remark = (
            "Only one photo was given: it is enrolled AND cloaked, which flatters the figures. "
            "Add more photos of the same person."
        )
    return PhotoSet(photos[0], tuple(photos[1:] or photos), _strangers(cache), remark)


def default_photos(cache: Path) -> PhotoSet:
    """Three photos of one public figure and one of another, brought once and kept in `cache`."""
    photos = _packaged(cache)
    return PhotoSet(photos[ENROLLED], tuple(photos[name] for name in CLOAKED), _strangers(cache), "")


def _strangers(cache: Path) -> tuple[NamedPhoto, ...]:
    packaged = _packaged(cache)
    import skimage

    astronaut = Path(skimage.__file__).parent / "data" / "astronaut.png"
    return (*(packaged[name] for name in STRANGERS), _read(astronaut))


def _packaged(cache: Path) -> dict[str, NamedPhoto]:
    names = (ENROLLED, *CLOAKED, *STRANGERS)
    if not all((cache / name).is_file() for name in names):
        _bring(cache, names)
    return {name: _read(cache / name) for name in names}


def _bring(cache: Path, names: tuple[str, ...]) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(REQUIREMENT)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                   "--require-hashes", "--dest", folder, "--requirement", str(requirements)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise DemoFailed(f"the demo photos could not be brought ({last}); use your own: make demo PHOTOS=dir")
        with tarfile.open(Path(folder) / ARCHIVE, "r:gz") as archive:
            for name in names:
                _write_whole(cache / name, _member(archive, f"{MEMBER_FOLDER}/{name}"))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    # By name and into memory: nothing in an archive decides where a file is written.
    file = archive.extractfile(archive.getmember(name))
    if file is None:
        raise DemoFailed(f"{name} in the photo package is not a file")
    data = file.read(MEMBER_BYTES_LIMIT + 1)
    if len(data) > MEMBER_BYTES_LIMIT:
        raise DemoFailed(f"{name} in the photo package is larger than {MEMBER_BYTES_LIMIT} bytes")
    return data


def _write_whole(path: Path, data: bytes) -> None:
    write_atomically(path, data, mode=PUBLIC, durable=False)


def _read(path: Path) -> NamedPhoto:
    with path.open("rb") as file:
        data = file.read(PHOTO_BYTES_LIMIT + 1)
    if len(data) > PHOTO_BYTES_LIMIT:
        raise DemoFailed(f"{path.name} is larger than {PHOTO_BYTES_LIMIT} bytes")
    return NamedPhoto(path.name, data)
