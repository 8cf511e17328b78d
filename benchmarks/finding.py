"""What cheap looks miss: outcomes and landmarks beside those of decoding everything, over real photos.

The service looks at the surroundings of a given box; without a hint it searches a small copy of a large photo, and
looks at the surroundings of what it finds. It does not search thumbnails of DC coefficients: the last part shows why.
`python -m benchmarks.finding --photos DIR --people DIR`. Where nothing is given, photos are enlarged first.
"""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

ENLARGED_PX = 4000


@click.command()
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--people", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--count", default=60, show_default=True, help="Photos of people, one each, that are enlarged.")
@click.option("--repository", type=click.Path(exists=True, file_okay=False, path_type=Path),
              default=Path("model_repository"), show_default=True, envvar="FACECLOAK_MODEL_REPOSITORY")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("out/bench/finding.json"))
def main(*, photos: Path, people: Path, count: int, repository: Path, out: Path) -> None:
    """Compare looking at a part, and at the thumbnail, with decoding everything."""
    from facecloak.faces import FaceFinder
    from facecloak_evaluation.ledger import MEASURING_PACKAGES, provenance, write_json

    finder = FaceFinder.load(repository)
    cameras = sorted(photos.glob("*/*.jpg"))
    portraits = [sorted(person.glob("photo1.jpg"))[0] for person in sorted(people.iterdir())][:count]
    large = {
        f"photos, long side {ENLARGED_PX}": [_enlarged(path) for path in cameras if "odd" not in str(path)],
        f"people, long side {ENLARGED_PX}": [_enlarged(path) for path in portraits],
    }
    document = {
        "schema": "facecloak-finding/1",
        **provenance(MEASURING_PACKAGES),
        "box_given": {
            "photos": _boxes(finder, [path.read_bytes() for path in cameras]),
            "people": _boxes(finder, [path.read_bytes() for path in portraits]),
        },
        "nothing_given": {name: _searches(finder, files) for name, files in large.items()},
        "nothing_given, thumbnail first": {
            name: _searches(finder, files, thumbnail=True) for name, files in large.items()
        },
    }
    write_json(out, document)
    click.echo(str(document["box_given"]) + "\n" + str(document["nothing_given"]))


def _enlarged(path: Path) -> bytes:
    with Image.open(path) as image:
        image = image.convert("RGB")
        scale = ENLARGED_PX / max(image.size)
        size = round(image.width * scale), round(image.height * scale)
        buffer = io.BytesIO()
        image.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _boxes(finder: Any, files: list[bytes]) -> dict[str, Any]:
    """Every face that the whole photo shows, sought again by its box."""
    from facecloak.cloaking.cloaker import Subject
    from facecloak.photos import PhotoRefused

    faces, missed, distances = 0, 0, []
    for data in files:
        try:
            found = _whole(data, finder.find)
        except PhotoRefused:
            continue
        for face in found:
            direct = _whole(data, lambda pixels, face=face: finder.landmarks_for(pixels, face.box))
            seen, _, look = _search(finder, data, Subject("user", box=face.box))
            if direct is None or not look:
                continue
            faces += 1
            if seen is None:
                missed += 1
            else:
                distances.append(_distance(seen, direct))
    return {"faces": faces, "missed": missed, **_summary(distances)}


def _searches(finder: Any, files: list[bytes], *, thumbnail: bool = False) -> dict[str, Any]:
    """The outcome of the service's search, or of one in the thumbnail first, beside that of a search in the whole
    photo."""
    from facecloak.cloaking.cloaker import Subject

    agreements: Counter[str] = Counter()
    distances = []
    for data in files:
        full = _full_search(finder, data)
        seen, outcome, _ = _search(finder, data, Subject("user"), thumbnail=thumbnail)
        one, other = ("FACE" if face else str(why) for face, why in (full, (seen, outcome)))
        agreements[one if one == other else f"{one} by decoding everything, {other} by looks"] += 1
        if seen is not None and full[0] is not None:
            distances.append(_distance(seen, full[0]))
    return {"photos": len(files), "outcomes": dict(agreements), **_summary(distances)}


def _search(finder: Any, data: bytes, subject: Any, *, thumbnail: bool = False) -> tuple[Any, str, bool]:
    """(face, outcome, whether the photo could be looked at in part)."""
    from facecloak.call_context import unobserved
    from facecloak.cloaking.face_search import FaceSearch
    from facecloak.cloaking.photo_session import PhotoSession
    from facecloak.photos import DEFAULT_LIMITS

    photo = PhotoSession(data, limits=DEFAULT_LIMITS, observer=unobserved)
    search = FaceSearch(finder, photo)
    if thumbnail:
        search._found = tuple(_in_thumbnail(finder, data, search)) or None
    sought = search.face_of(subject)
    return sought.face, sought.outcome.value, not photo.fallback_reason


def _in_thumbnail(finder: Any, data: bytes, search: Any) -> list[Any]:
    """The faces that the thumbnail shows, placed by a closer look each; none where one of them is not confirmed."""
    from facecloak.cloaking.face_search import placed
    from facecloak.photos import DEFAULT_LIMITS
    from facecloak.photos.splice import JpegSplice

    look = JpegSplice(data, limits=DEFAULT_LIMITS).thumbnail()
    faces = [search.face_near(placed(face, look).box) for face in finder.find(look.srgb_u8)]
    return faces if all(faces) else []


def _full_search(finder: Any, data: bytes) -> tuple[Any, str]:
    """As FaceSearch does on decoded pixels."""
    from facecloak.faces import main_face
    from facecloak.photos import decode_photo

    pixels = decode_photo(data).srgb_u8
    found = finder.find(pixels)
    if not found:
        return None, "NO_FACE"
    face = main_face(found, width=pixels.shape[1], height=pixels.shape[0])
    return (None, "AMBIGUOUS_FACE") if face is None else (face, "CLOAKED")


def _whole(data: bytes, look: Any) -> Any:
    from facecloak.photos import decode_photo

    return look(decode_photo(data).srgb_u8)


def _distance(one: Any, other: Any) -> float:
    """Largest distance of a landmark, in px of the aligned 112 crop."""
    from facecloak.cloaking.placement import square_side_px

    apart = float(np.linalg.norm(one.landmarks - other.landmarks, axis=1).max())
    return apart * 112 / square_side_px(other)


def _summary(distances: list[float]) -> dict[str, Any]:
    if not distances:
        return {}
    p50, p95 = np.percentile(distances, [50, 95])
    return {
        "landmark_distance_crop_px": {
            "p50": round(float(p50), 2), "p95": round(float(p95), 2), "max": round(max(distances), 2)
        }
    }  # fmt: skip


if __name__ == "__main__":
    main()
