"""Photos as users send them, what each must come back as, and calls that begin when they are due (open loop)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import jpeg, photo

USERS = tuple(f"soak-{number}" for number in range(8))
_HOSTILE = (
    "WebP whose data is cut",
    "PNG, 8 x 8, 16-bit data that inflates to 31 GiB",
    "PNG, 16-bit RGBA of one color, 50 MP",
    "JPEG, EXIF whose directory follows itself",
    "JPEG whose header states 67 MP, 2 KB",
    "JPEG, XMP whose entities grow",
)


@dataclass(frozen=True)
class Upload:
    """One call, and the photo that has to come back; None for a hostile one, of which only an answer is expected."""

    request: Any
    expected: bytes | None
    name: str


def masks() -> dict[str, Any]:
    """A mask for each user, no two alike."""
    from facecloak.masks.mask import Mask

    return {
        user: Mask.new(np.random.default_rng(number).integers(-9, 10, (112, 112, 3)).astype(np.int8), seed=number)
        for number, user in enumerate(USERS)
    }


def uploads(repository: Path, *, largest: tuple[int, int] = (4032, 3024)) -> list[Upload]:
    """Photos of one to four faces, of phones and smaller, with boxes, landmarks and without; JPEG, PNG and WebP."""
    from apply_service.convert import request_to, subjects_from
    from benchmarks.hostile import saved
    from facecloak.cloaking.cloaker import Cloaker, MasksInMemory, Subject
    from facecloak.faces import FaceFinder
    from facecloak.photos.file_tag import without_tag

    finder = FaceFinder.load(repository)
    cloaker = Cloaker(finder, MasksInMemory(masks()))
    made = []

    def add(data: bytes, pixels: np.ndarray, hint: str, *, first: int, name: str) -> None:
        faces = sorted(finder.find(pixels), key=lambda face: face.box.x)
        if hint == "none":
            subjects: tuple[Subject, ...] = (Subject(USERS[first]),)
        elif hint == "box":
            subjects = tuple(Subject(USERS[(first + n) % 8], box=face.box) for n, face in enumerate(faces))
        else:
            subjects = tuple(Subject(USERS[(first + n) % 8], landmarks=face.landmarks) for n, face in enumerate(faces))
        sent = request_to(data, subjects)
        result = cloaker.cloak(data, subjects_from(sent))  # with the numbers as they are on the wire
        assert all(subject.outcome.is_cloaked for subject in result.subjects), name
        made.append(Upload(sent, without_tag(result.photo), f"{name}, hint: {hint}"))

    one = photo(width=1280, height=960)
    for number, hint in enumerate(("none", "box", "landmarks")):
        add(jpeg(one), one, hint, first=number, name="JPEG, 1280 x 960, 1 face")
    large = photo(width=largest[0], height=largest[1])
    add(jpeg(large), large, "landmarks", first=3, name=f"JPEG, {largest[0]} x {largest[1]}, 1 face")
    for count in (2, 3, 4):
        several = np.hstack([photo(width=512, height=512)] * count)
        add(jpeg(several), several, "landmarks" if count % 2 else "box", first=count, name=f"JPEG, {count} faces")
    small = photo(width=640, height=480)
    add(saved(small, "PNG"), small, "box", first=1, name="PNG, 640 x 480, 1 face")
    add(saved(small, "WEBP", quality=85), small, "landmarks", first=2, name="WebP, 640 x 480, 1 face")
    add(saved(small, "JPEG", progressive=True), small, "box", first=5, name="progressive JPEG, 640 x 480, 1 face")
    return made


def hostile_uploads() -> list[Upload]:
    """Some of :mod:`benchmarks.hostile`."""
    from apply_service.convert import request_to
    from benchmarks.hostile import hostile_files
    from facecloak.cloaking.cloaker import Subject

    files = hostile_files()
    return [Upload(request_to(files[name](), (Subject(USERS[0]),)), None, name) for name in _HOSTILE]


def open_loop(
    call: Callable[[int], None], *, rate: float, seconds: float, threads: int, stop: threading.Event | None = None
) -> tuple[int, float]:
    """Begins ``call(number)`` ``rate`` times a second at random moments (Poisson), however long the others take.

    Returns:
        How many began, and by how many seconds the latest of them began too late.
    """
    rng, number, latest = np.random.default_rng(0), 0, 0.0
    began = due = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        while due - began < seconds and not (stop is not None and stop.is_set()):
            due += rng.exponential(1 / rate)
            time.sleep(max(0.0, due - time.monotonic()))
            latest = max(latest, time.monotonic() - due)
            pool.submit(call, number)
            number += 1
    return number, latest
