"""The services' face finder: boxes, five landmarks, and a second opinion on whether it is a face at all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from facecloak.faces.align import aligning_transform, inverse_transform, transform_points
from facecloak.faces.blazeface import BlazeFace
from facecloak.faces.cascade import Cascade
from facecloak.faces.detector import MAX_FACES, BoxDetector, Detection, search_in
from facecloak.faces.errors import FinderModelMissing, InvalidBox
from facecloak.faces.face import Box, Face, checked_landmarks
from facecloak.faces.facemesh import FaceMesh
from facecloak.faces.fr_detect import FrDetect
from facecloak.faces.fr_landmark import FrLandmark
from facecloak.faces.hints import are_of, fits
from facecloak.faces.landmarks import FivePoints, refined_landmarks, settled_landmarks
from facecloak.faces.pixels import checked_photo
from facecloak.faces.placing import SURE_SCORE, FacePlacer, box_around
from facecloak.faces.prominence import BACKGROUND_SIDE
from facecloak.faces.same_face import is_of, is_same, overlap
from facecloak.faces.views import WorkingCopy, close_up, uncut
from facecloak.faces.yunet import YuNet

# A caller's box may be tight or loose: look again where it does not lead to a face, over three times its side.
_NEARBY = 3.0

# A look costs 2 to 4 ms, decoding and shrinking all of 12 megapixels 50.
_MOST_LOOKS = 8
# What a glance takes for the photo's main face: px of the quick detector's canvas, so that a face beside it that is no
# background has a fifth of them. Anything that might be such a face is looked into.
_LEAST_MAIN_PX = 30.0
_DOUBTFUL_SIDE = 0.75 * BACKGROUND_SIDE

log = logging.getLogger(__name__)


class FaceFinder:
    """Finds faces and their five landmarks in a photo. Holds no state between calls; safe to share between threads.

    YuNet and BlazeFace find, `fr_landmark` places, and the face mesh says whether a face is there. Without the mesh
    (``mesh=None``) the detector is believed, without ``quick`` the one detector looks alone.
    """

    def __init__(
        self,
        detector: BoxDetector,
        landmarks: FivePoints,
        mesh: FaceMesh | None,
        *,
        first_side: float,
        quick: YuNet | None = None,
    ) -> None:
        self._detector = detector
        self._cascade = None if quick is None else Cascade(quick, detector)
        self._landmarks = landmarks
        self._mesh = mesh
        self._first_side = first_side
        self._placer = FacePlacer(landmarks, mesh, first_side=first_side)
        quicker = [] if quick is None else [quick.identity]
        parts = [*quicker, detector.identity, landmarks.identity, *([mesh.identity] if mesh else [])]
        self.identity = "+".join(dict.fromkeys(parts))
        """Names and digests of the models behind it."""

    @classmethod
    def load(cls, model_repository: Path, *, threads: int = 1) -> FaceFinder:
        """Opens the finder's models; raises :class:`FinderModelMissing`.

        Where BlazeFace or the mesh was left out (`models pull --without-largest`), `fr_detect` finds, unconfirmed;
        where the repository is from before YuNet, BlazeFace finds alone. The landmarks are the same network's, so masks
        made with the one fit photos read with the other.
        """
        landmarks = FrLandmark(model_repository, threads=threads)
        try:
            blazeface = BlazeFace(model_repository, threads=threads)
            mesh = FaceMesh(model_repository, threads=threads)
            return cls(blazeface, landmarks, mesh, first_side=1.1, quick=_quick(model_repository, threads=threads))
        except FinderModelMissing as error:
            fallback = FrDetect(model_repository, threads=threads)
            log.warning("face finder without %s: faces are not confirmed", error.metadata.get("model"))
            return cls(fallback, landmarks, None, first_side=1.0)

    def without_quick(self) -> FaceFinder:
        """The same without its quick detector, to measure it by."""
        return FaceFinder(self._detector, self._landmarks, self._mesh, first_side=self._first_side)

    def find(self, srgb_u8: np.ndarray) -> list[Face]:
        """All faces of an upright photo (H, W, 3) uint8 RGB, largest first, at most 64.

        Raises :class:`InvalidPixels`.
        """
        photo = checked_photo(srgb_u8)
        found = self._found(self._search(uncut(photo)), look=lambda _: uncut(photo))
        assert found is not None
        return found

    def find_main(self, small: WorkingCopy, *, look: Callable[[Box], WorkingCopy | None]) -> Face | None:
        """The one face that a photo is of, where a glance leaves no doubt that there is one; None says nothing.

        What :meth:`find` would show beside it is background to :func:`facecloak.faces.prominence.main_face`. For the
        arguments see :meth:`find_by_looks`; the copy may be as small as :attr:`glance_side_px`.
        """
        if self._cascade is None:
            return None
        seen = self._cascade.glance(small)
        if not seen:
            return None
        largest = max(seen, key=lambda face: face.side)
        height, width = small.srgb_u8.shape[:2]
        canvas_px = self._cascade.canvas_side / max(width, height) * largest.seen_in(small).side
        others = [face for face in seen if face is not largest]
        doubtful = any(other.side >= _DOUBTFUL_SIDE * largest.side for other in others)
        if largest.score < SURE_SCORE or canvas_px < _LEAST_MAIN_PX or doubtful:
            return None
        near = look(_box_of(largest))
        if near is None:
            return None
        placed = self._placer.placed(near.srgb_u8, largest.seen_in(near), to_photo=near.to_photo)
        return placed.face if placed is not None and placed.is_sure else None

    @property
    def glance_side_px(self) -> int | None:
        """Long side of the smallest copy of a photo that :meth:`find_main` needs; None where there is no glance."""
        return None if self._cascade is None else self._cascade.canvas_side

    def find_by_looks(self, small: WorkingCopy, *, look: Callable[[Box], WorkingCopy | None]) -> list[Face] | None:
        """As :meth:`find` for a photo that is not at hand: sought in a smaller copy of it, and each face then placed in
        a closer look. The copy shows 960 px and more of what :func:`longest_looked_at` says.

        Args:
            look: gives the photo's part around a face's box, with half as much again on each side, or None.

        Returns:
            None where a look is not to be had, or where so many are wanted that the whole photo costs less.
        """
        return self._found(self._search(small), look=look, most_looks=_MOST_LOOKS)

    def _search(self, copy: WorkingCopy) -> list[Detection]:
        return search_in(copy, self._detector) if self._cascade is None else self._cascade.search(copy)

    def _found(
        self,
        detections: list[Detection],
        *,
        look: Callable[[Box], WorkingCopy | None],
        most_looks: int | None = None,
    ) -> list[Face] | None:
        """The faces of detections, largest first; None where a look is not to be had, or too many are wanted."""
        faces: list[Face] = []
        unsure: list[Face] = []
        looks = 0
        for detection in detections:
            # Two detectors see most faces both, and what one of them placed need not be placed again.
            if self._cascade is not None and any(is_of(detection, face) for face in faces):
                continue
            looks += 1
            near = None if most_looks is not None and looks > most_looks else look(_box_of(detection))
            if near is None:
                return None
            placed = self._placer.placed(near.srgb_u8, detection.seen_in(near), to_photo=near.to_photo)
            if placed is None:
                continue
            if not placed.is_sure:
                unsure.append(placed.face)
            elif not any(is_same(placed.face, other) for other in faces):
                faces.append(placed.face)
            if len(faces) == MAX_FACES:
                break
        # A face that is turned is taken for another one in the same place; where nothing better is, it is a face.
        for face in unsure:
            if len(faces) < MAX_FACES and not any(is_same(face, other) or overlap(face, other) for other in faces):
                faces.append(face)
        return sorted(faces, key=lambda face: face.box.area, reverse=True)

    def landmarks_for(self, srgb_u8: np.ndarray, box: Box) -> Face | None:
        """The face in a caller's box, or None where there is none.

        The box may be loose, tight or off, as long as it :func:`fits`, and the face tilted. Raises :class:`InvalidBox`
        off the photo, :class:`InvalidPixels`.
        """
        photo = checked_photo(srgb_u8)
        frame = Box(0, 0, photo.shape[1], photo.shape[0])
        if box.intersection_area(frame) <= 0:
            raise InvalidBox("the face box lies outside the photo")
        # Width varies less than height between detectors' conventions: the side of a square about the face.
        side = float(np.sqrt(box.width * box.height))
        direct = Detection(box.center, side, angle=0.0, score=1.0)
        copy = close_up(photo, center=direct.center, side=direct.side)
        settled = refined_landmarks(copy.srgb_u8, direct.seen_in(copy), self._landmarks, first_side=1.0)
        face = (None if settled is None else self._placer.confirmed(settled, copy)) or self._near(photo, direct)
        return face if face is not None and fits(face.box, box) else None

    def face_at(self, srgb_u8: np.ndarray, landmarks: np.ndarray) -> Face | None:
        """The face whose five ``landmarks`` (5, 2) a caller says these are; None where no face is seen there, or one
        whose landmarks lie elsewhere. Its landmarks are the finder's own, a little off the given ones.

        Raises :class:`InvalidPixels`, :class:`InvalidLandmarks`.
        """
        photo = checked_photo(srgb_u8)
        given = checked_landmarks(landmarks)
        box = box_around(inverse_transform(aligning_transform(given)))
        side = float(np.sqrt(box.width * box.height))
        copy = close_up(photo, center=box.center, side=side)
        settled = settled_landmarks(
            copy.srgb_u8, transform_points(inverse_transform(copy.to_photo), given), self._landmarks
        )
        face = None if settled is None else self._placer.confirmed(settled, copy)
        if face is None:
            face = self._near(photo, Detection(box.center, side, angle=0.0, score=1.0))
        return face if face is not None and are_of(face, given) else None

    def mesh_of(self, srgb_u8: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        """The face mesh of the face with these five ``landmarks``: (468, 3) float64 photo px, see
        :meth:`FaceMesh.points`; None where there is no mesh network or it does not see the face there.

        Raises :class:`InvalidPixels`, :class:`InvalidLandmarks`.
        """
        photo = checked_photo(srgb_u8)
        return self._placer.mesh_at(photo, checked_landmarks(landmarks))

    def _near(self, photo: np.ndarray, wanted: Detection) -> Face | None:
        """The best of the faces that the detector sees around a place."""
        half = wanted.side * _NEARBY / 2
        (x, y), (height, width) = wanted.center, photo.shape[:2]
        left, top = max(0, int(x - half)), max(0, int(y - half))
        right, bottom = min(width, int(x + half) + 1), min(height, int(y + half) + 1)
        if right - left < 2 or bottom - top < 2:
            return None
        around = np.ascontiguousarray(photo[top:bottom, left:right])
        nearest, best_distance = None, wanted.side / 2
        moved = np.array([[1.0, 0.0, left], [0.0, 1.0, top]])
        for seen in self._search(WorkingCopy(around, moved)):
            distance = float(np.hypot(seen.center[0] - x, seen.center[1] - y))
            if distance < best_distance and 1 / 3 < seen.side / wanted.side < 3:
                nearest, best_distance = seen, distance
        placed = None if nearest is None else self._placer.placed(photo, nearest)
        return None if placed is None else placed.face


def _quick(model_repository: Path, *, threads: int) -> YuNet | None:
    try:
        return YuNet(model_repository, threads=threads)
    except FinderModelMissing:
        log.warning("face finder without yunet: photos without a hint take several times as long")
        return None


def _box_of(detection: Detection) -> Box:
    (x, y), side = detection.center, detection.side
    return Box(x - side / 2, y - side / 2, side, side)
