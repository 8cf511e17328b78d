"""Faces found by the cascade and by its thorough detector alone, over real photos in many guises.

`python -m benchmarks.recall --shared DIR`. What is sought is known: where the thorough detector sees the one face of a
news photo as it came, or where such a face was put. Groups and camera photos tell what either way finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import cv2
import numpy as np

NEAR_PX = 12.0
"""A face is found where its landmarks are within so much of its place, px of the aligned crop."""


@dataclass(frozen=True)
class Case:
    """A photo, and five landmarks (5, 2) of each face that it must show; None where nobody knows."""

    srgb_u8: np.ndarray
    faces: list[np.ndarray] | None = None


@dataclass
class Tally:
    """What one way of finding did."""

    found: int = 0
    other: int = 0
    away_px: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)

    def as_json(self, sought: int | None) -> dict[str, Any]:
        away = {}
        if self.away_px:
            p50, p95 = np.percentile(self.away_px, [50, 95])
            away = {"landmarks_away_px": {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}}
        known = {} if sought is None else {"recall": round(self.found / max(sought, 1), 3)}
        return {**known, "found": self.found, "other": self.other, **away, "median_ms": round(median(self.ms), 1)}


@click.command()
@click.option("--shared", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--count", default=40, show_default=True, help="Photos of people in each set.")
@click.option("--only", multiple=True, help="Sets to measure; all if not given.")
@click.option("--repository", type=click.Path(exists=True, file_okay=False, path_type=Path),
              default=Path("model_repository"), show_default=True, envvar="FACECLOAK_MODEL_REPOSITORY")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("out/bench/recall.json"))
def main(*, shared: Path, count: int, only: tuple[str, ...], repository: Path, out: Path) -> None:
    """Compare the two ways, set by set."""
    from facecloak.faces import FaceFinder
    from facecloak_evaluation.ledger import MEASURING_PACKAGES, provenance, write_json

    cv2.setNumThreads(1)
    cascade = FaceFinder.load(repository)
    alone = cascade.without_quick()
    measured: dict[str, Any] = {}
    document = {
        "schema": "facecloak-bench-finder/1",
        **provenance(MEASURING_PACKAGES),
        "what": (
            "faces found by YuNet first and BlazeFace where it leaves a doubt (the services' finder), and by BlazeFace "
            "alone, over news photos of one known face each in many guises, crowds put together of them, groups and "
            "camera photos (there, and for people, what BlazeFace alone finds is sought); 'elsewhere' are found where "
            f"no known face is within {NEAR_PX:.0f} px of the crop; processor time of one thread on decoded pixels, on "
            "a machine with other work; a glance is what a photo without a hint takes where that settles whose it is"
        ),
        "count": count,
        "sets": measured,
    }
    for name, cases in _sets(shared, alone, count).items():
        if only and name not in only:
            continue
        measured[name] = _compared(cascade, alone, cases())
        click.echo(f"{name}: {measured[name]}")
        write_json(out, document)


def _compared(cascade: Any, alone: Any, cases: Iterator[Case]) -> dict[str, Any]:
    from facecloak.faces import main_face
    from facecloak.faces.views import uncut

    tallies = {"cascade": Tally(), "blazeface alone": Tally()}
    glance_ms: list[float] = []
    photos = sought = settled = wrong = wrong_place = 0
    is_known = True
    for case in cases:
        photos += 1
        found = {}
        for (way, tally), finder in zip(tallies.items(), (cascade, alone), strict=True):
            found[way], ms = _timed(partial(finder.find, case.srgb_u8))
            tally.ms.append(ms)
        is_known = is_known and case.faces is not None
        reference = case.faces if case.faces is not None else [face.landmarks for face in found["blazeface alone"]]
        sought += len(reference)
        for way, tally in tallies.items():
            _count(tally, found[way], reference)
        whole = uncut(case.srgb_u8)
        face, ms = _timed(partial(cascade.find_main, whole, look=partial(_itself, whole)))
        glance_ms.append(ms)
        if face is None:
            continue
        if case.faces is not None:
            wrong_place += not any(_away(face, landmarks) <= NEAR_PX for landmarks in case.faces)
        settled += 1
        height, width = case.srgb_u8.shape[:2]
        mains = [main_face(faces, width=width, height=height) for faces in found.values()]
        wrong += not all(main is not None and _away(face, main.landmarks) <= NEAR_PX for main in mains)
    return {
        "photos": photos,
        "faces": sought,
        **{way: tally.as_json(sought if is_known else None) for way, tally in tallies.items()},
        "glance": {
            "settled": settled,
            "otherwise": wrong,
            **({"wrong_place": wrong_place} if is_known else {}),
            "median_ms": round(median(glance_ms), 1),
        },
    }


def _itself(whole: Any, _: Any) -> Any:
    return whole


def _count(tally: Tally, faces: list[Any], reference: list[np.ndarray]) -> None:
    left = list(faces)
    for landmarks in reference:
        near = min(left, key=lambda face: _away(face, landmarks), default=None)
        if near is not None and _away(near, landmarks) <= NEAR_PX:
            tally.found += 1
            tally.away_px.append(_away(near, landmarks))
            left = [face for face in left if face is not near]
    tally.other += len(left)


def _away(face: Any, landmarks: np.ndarray) -> float:
    from facecloak.faces.landmarks import distance_px

    return distance_px(np.asarray(face.landmarks, np.float64), np.asarray(landmarks, np.float64))


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.thread_time_ns()
    result = call()
    return result, (time.thread_time_ns() - began) / 1e6


def _sets(shared: Path, finder: Any, count: int) -> dict[str, Callable[[], Iterator[Case]]]:
    """By name, what makes the photos of each set. ``finder`` says where the face of a news photo is."""
    from benchmarks.guises import darkened, in_a_crowd, masked, turned, turned_whole

    others = sorted((shared / "faces" / "others").glob("*.jpg")) or sorted((shared / "faces" / "others").rglob("*.jpg"))
    portraits: list[tuple[np.ndarray, Any]] = []

    def known() -> list[tuple[np.ndarray, Any]]:
        """News photos that show one face, and that face."""
        if not portraits:
            for path in others[: 4 * count]:
                srgb_u8 = _read(path)
                faces = finder.find(srgb_u8)
                if len(faces) == 1 and faces[0].mesh is not None:
                    portraits.append((srgb_u8, faces[0]))
        return portraits

    def people() -> Iterator[Case]:
        paths = sorted((shared / "faces" / "people").glob("*/photo1.jpg"))[:count]
        for path in paths:
            srgb_u8 = _read(path)
            yield Case(srgb_u8, None)

    def each(change: Callable[[np.ndarray, Any], tuple[np.ndarray, np.ndarray]], pick: Callable[[Any], float] | None):  # type: ignore[no-untyped-def]
        def cases() -> Iterator[Case]:
            chosen = known() if pick is None else sorted(known(), key=lambda one: pick(one))
            for srgb_u8, face in chosen[:count]:
                picture, landmarks = change(srgb_u8, face)
                yield Case(picture, [landmarks])

        return cases

    def files(folder: str, scale: float = 1.0, degrees: int = 0) -> Callable[[], Iterator[Case]]:
        def cases() -> Iterator[Case]:
            for path in sorted((shared / "photos" / folder).glob("*.jpg")):
                srgb_u8 = _read(path)
                if scale != 1.0:
                    srgb_u8 = cv2.resize(srgb_u8, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                yield Case(turned_whole(srgb_u8, degrees), None)

        return cases

    def crowd(low: float, high: float, spread_degrees: float) -> Callable[[], Iterator[Case]]:
        def cases() -> Iterator[Case]:
            rng = np.random.default_rng(7)
            for _ in range(max(count // 5, 1)):
                picture, faces = in_a_crowd(known(), rng, sides=(low, high), spread_degrees=spread_degrees)
                yield Case(picture, faces)

        return cases

    return {
        "people": people,
        "turned by 90": each(lambda p, f: turned(p, f, 90), None),
        "turned by 180": each(lambda p, f: turned(p, f, 180), None),
        "turned by 270": each(lambda p, f: turned(p, f, 270), None),
        "tilted by 30": each(lambda p, f: turned(p, f, 30), None),
        "tilted by 45": each(lambda p, f: turned(p, f, 45), None),
        "most turned heads": each(lambda p, f: (p, f.landmarks), lambda one: -_yaw(one[1])),
        "with a face mask": each(masked, None),
        "darkest faces, a tenth of the light": each(darkened, lambda one: _brightness(*one)),
        "groups": files("groups"),
        "groups, a quarter of the size": files("groups", 0.25),
        "groups, turned by 90": files("groups", 1.0, 90),
        "groups, turned by 45": files("groups", 1.0, 45),
        "cameras": files("phones"),
        "crowds, 24-40 px": crowd(24, 40, 8),
        "crowds, 40-100 px": crowd(40, 100, 8),
        "crowds, 40-100 px, tilted": crowd(40, 100, 30),
    }


def _yaw(face: Any) -> float:
    """How far the head is turned aside, radians."""
    from facecloak.faces.pose import angles_of, fit_pose
    from facecloak.faces.shape import face_shape

    return abs(angles_of(fit_pose(face_shape().mean.astype(np.float64), face.mesh).rotation)[0])


def _brightness(srgb_u8: np.ndarray, face: Any) -> float:
    from facecloak.faces import aligned_crop

    return float(aligned_crop(srgb_u8, face.landmarks)[30:100, 30:82].mean())


def _read(path: Path) -> np.ndarray:
    from facecloak.photos import decode_photo

    return decode_photo(path.read_bytes()).srgb_u8


if __name__ == "__main__":
    main()
