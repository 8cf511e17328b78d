"""The services' face finder: boxes, five landmarks, and a second opinion on whether it is a face at all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecloak.faces.align import aligning_transform, inverse_transform, scale_of, transform_points
from facecloak.faces.blazeface import BlazeFace
from facecloak.faces.cascade import SAME_MIDDLE, Cascade
from facecloak.faces.detector import MAX_FACES, BoxDetector, Detection, search_in
from facecloak.faces.errors import FinderModelMissing, InvalidBox, InvalidLandmarks
from facecloak.faces.face import Box, Face, checked_landmarks
from facecloak.faces.facemesh import FaceMesh, five_of_mesh
from facecloak.faces.fr_detect import FrDetect
from facecloak.faces.fr_landmark import FrLandmark
from facecloak.faces.landmarks import (
    FivePoints,
    Settled,
    distance_px,
    refined_landmarks,
    settled_landmarks,
    strays,
    unbiased,
)
from facecloak.faces.pixels import checked_photo
from facecloak.faces.prominence import BACKGROUND_SIDE
from facecloak.faces.views import WorkingCopy, chained, close_up, uncut
from facecloak.faces.yunet import YuNet

_MIN_PRESENCE = 0.5
# On 742 LFW faces the two landmark networks part by 1.2 px in the median, 5.5 in one of a hundred, 8.7 at most.
_MAX_DISAGREEMENT_PX = 12.0
# Landmarks from a caller's box that rest, and that the mesh sees within this of the same place, are the face's.
# Measured with 1040 boxes of 20 people, up to 60 % of their side off and 0.5 to 2.5 times as large, some faces tilted
# by up to 45 degrees: 911 are so, and their landmarks at most 0.3 px from the face's own; of 56 others that the mesh
# takes for a face, 31 are 20 px and more away.
_SURE_PX = 4.0
_SURE_MOVED_PX = 1.0
# All others must come out the same when sought from where the mesh sees the face.
_MAX_RESTART_PX = 1.0
# Two detections whose landmarks end within this share of the eye distance were of one face.
_SAME_FACE = 0.5
# The face in the aligned crop, forehead to chin: median of MTCNN's and fr_detect's boxes around LFW faces.
_FACE_IN_CROP = Box(17.0, 10.0, 77.0, 108.0)
# A caller's five points must be this near to the face's own, px of the aligned crop: a third of the eye distance.
# Measured on 230 faces of 90 photos of 10 people, 100 photos of others and six groups. YuNet's points, 4 px off in the
# median and 12 at most, lead to the face in 228 of 228; so do points moved by 0.3 eye distances (99.6 %); the
# landmarks are then at most 4 px from the face's own. Of points moved by 0.5 to 1.5 eye distances, of the stored
# pixels of EXIF 3, 6 and 8, of a half, double or quarter size, of shares and percent (230 each), none is taken. The
# mesh alone, asked at the given points, takes 15 % of those that are a whole eye distance off.
MAX_HINT_DISTANCE_PX = 12.0
_MAX_HINT_RATIO = 3.0
# A caller's box may be tight or loose: look again where it does not lead to a face, over three times its side.
_NEARBY = 3.0

# A look costs 2 to 4 ms, decoding and shrinking all of 12 megapixels 50.
_MOST_LOOKS = 8
# What a glance takes for the photo's main face: px of the quick detector's canvas, so that a face beside it that is no
# background has a fifth of them, and how sure the detector must be. Anything that might be such a face is looked into.
_LEAST_MAIN_PX = 30.0
_SURE_SCORE = 0.7
_DOUBTFUL_SIDE = 0.75 * BACKGROUND_SIDE
_MOST_SHARED = 0.4

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
        if largest.score < _SURE_SCORE or canvas_px < _LEAST_MAIN_PX or doubtful:
            return None
        near = look(_box_of(largest))
        if near is None:
            return None
        placed = self._placed(near.srgb_u8, largest.seen_in(near), to_photo=near.to_photo)
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
            if self._cascade is not None and any(_is_of(detection, face) for face in faces):
                continue
            looks += 1
            near = None if most_looks is not None and looks > most_looks else look(_box_of(detection))
            if near is None:
                return None
            placed = self._placed(near.srgb_u8, detection.seen_in(near), to_photo=near.to_photo)
            if placed is None:
                continue
            if not placed.is_sure:
                unsure.append(placed.face)
            elif not any(_is_same(placed.face, other) for other in faces):
                faces.append(placed.face)
            if len(faces) == MAX_FACES:
                break
        # A face that is turned is taken for another one in the same place; where nothing better is, it is a face.
        for face in unsure:
            if len(faces) < MAX_FACES and not any(_is_same(face, other) or _overlap(face, other) for other in faces):
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
        face = (None if settled is None else self._sure(settled, copy)) or self._near(photo, direct)
        return face if face is not None and fits(face.box, box) else None

    def face_at(self, srgb_u8: np.ndarray, landmarks: np.ndarray) -> Face | None:
        """The face whose five ``landmarks`` (5, 2) a caller says these are; None where no face is seen there, or one
        whose landmarks lie elsewhere. Its landmarks are the finder's own, a little off the given ones.

        Raises :class:`InvalidPixels`, :class:`InvalidLandmarks`.
        """
        photo = checked_photo(srgb_u8)
        given = checked_landmarks(landmarks)
        box = _box_around(inverse_transform(aligning_transform(given)))
        side = float(np.sqrt(box.width * box.height))
        copy = close_up(photo, center=box.center, side=side)
        settled = settled_landmarks(
            copy.srgb_u8, transform_points(inverse_transform(copy.to_photo), given), self._landmarks
        )
        face = None if settled is None else self._sure(settled, copy)
        if face is None:
            face = self._near(photo, Detection(box.center, side, angle=0.0, score=1.0))
        return face if face is not None and are_of(face, given) else None

    def mesh_of(self, srgb_u8: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        """The face mesh of the face with these five ``landmarks``: (468, 3) float64 photo px, see
        :meth:`FaceMesh.points`; None where there is no mesh network or it does not see the face there.

        Raises :class:`InvalidPixels`, :class:`InvalidLandmarks`.
        """
        photo = checked_photo(srgb_u8)
        given = checked_landmarks(landmarks)
        if self._mesh is None:
            return None
        seen = self._seen(photo, given, self._mesh)
        return None if seen is None else seen.mesh

    def _sure(self, settled: Settled, copy: WorkingCopy) -> Face | None:
        """The face of landmarks that a caller's hint led to, where the mesh confirms it."""
        if self._mesh is None:
            return None
        seen = self._seen(copy.srgb_u8, settled.points, self._mesh)
        if seen is None or not self._is_stable(copy.srgb_u8, settled, seen):
            return None
        return _face_of(settled.points, seen.mesh, copy.to_photo, score=1.0)

    def _is_stable(self, photo: np.ndarray, settled: Settled, seen: _Seen) -> bool:
        """Whether landmarks from a box of unknown fit are the face's: a box far off can lead the looks astray."""
        # Where the mesh itself places the landmarks, it is no second witness.
        if self._landmarks is not self._mesh and seen.apart_px <= _SURE_PX and settled.moved_px <= _SURE_MOVED_PX:
            return True
        again = settled_landmarks(photo, seen.landmarks, self._landmarks)
        return again is not None and distance_px(again.points, settled.points) <= _MAX_RESTART_PX

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
        placed = None if nearest is None else self._placed(photo, nearest)
        return None if placed is None else placed.face

    def _placed(self, photo: np.ndarray, detection: Detection, *, to_photo: np.ndarray | None = None) -> _Placed | None:
        """The face of a detection in ``photo``, or, by ``to_photo``, in the photo that this is a part of."""
        copy = close_up(photo, center=detection.center, side=detection.side)
        near, here = copy.srgb_u8, detection.seen_in(copy)
        settled = self._settled(near, here)
        if settled is None:
            return None
        seen = None if self._mesh is None else self._seen(near, settled.points, self._mesh)
        if seen is None and self._mesh is not None:
            return None
        to_whole = copy.to_photo if to_photo is None else chained(copy.to_photo, to_photo)
        mesh = None if seen is None else seen.mesh
        is_sure = settled.moved_px <= _SURE_MOVED_PX and (seen is None or seen.apart_px <= _SURE_PX)
        return _Placed(_face_of(settled.points, mesh, to_whole, score=detection.score), is_sure)

    def _settled(self, near: np.ndarray, detection: Detection) -> Settled | None:
        """The landmarks of a detection: from its own on, where it has any, else from its square on."""
        if detection.points is not None:
            settled = settled_landmarks(near, detection.points, self._landmarks)
            if settled is not None and not strays(settled.points, detection):
                return settled
        return refined_landmarks(near, detection, self._landmarks, first_side=self._first_side)

    @staticmethod
    def _seen(photo: np.ndarray, points: np.ndarray, mesh: FaceMesh) -> _Seen | None:
        """What the mesh sees at these landmarks, where that is a face in the same place; else None."""
        try:
            vertices, presence = mesh.points(photo, points)
            landmarks = five_of_mesh(vertices[:, :2])
            apart = distance_px(unbiased(landmarks, mesh), points)
        except InvalidLandmarks:
            return None
        return (
            _Seen(vertices, landmarks, apart) if presence >= _MIN_PRESENCE and apart <= _MAX_DISAGREEMENT_PX else None
        )


@dataclass(frozen=True, eq=False)
class _Seen:
    """A face that the mesh confirms: all its points, the five landmarks among them as the mesh places them, and how far
    these are from those that were asked about, px of the aligned crop."""

    mesh: np.ndarray
    landmarks: np.ndarray
    apart_px: float


@dataclass(frozen=True, eq=False)
class _Placed:
    """A face, and whether its landmarks rest where the mesh sees them, too."""

    face: Face
    is_sure: bool


def _face_of(points: np.ndarray, mesh: np.ndarray | None, to_photo: np.ndarray, *, score: float) -> Face:
    """A face of the photo from landmarks and mesh in px of a copy."""
    placed = transform_points(to_photo, points)
    if mesh is not None:
        mesh = np.hstack([transform_points(to_photo, mesh[:, :2]), mesh[:, 2:] * scale_of(to_photo)])
    box = _box_around(inverse_transform(aligning_transform(placed)))
    return Face(box, placed.astype(np.float32), score, mesh)


def _box_around(to_photo: np.ndarray) -> Box:
    """An upright box of the face's size about its center: alike for every detector, and for the caller's own box."""
    x, y = transform_points(to_photo, np.array([_FACE_IN_CROP.center]))[0].tolist()
    scale = scale_of(to_photo)
    width, height = _FACE_IN_CROP.width * scale, _FACE_IN_CROP.height * scale
    return Box(x - width / 2, y - height / 2, width, height)


def _quick(model_repository: Path, *, threads: int) -> YuNet | None:
    try:
        return YuNet(model_repository, threads=threads)
    except FinderModelMissing:
        log.warning("face finder without yunet: photos without a hint take several times as long")
        return None


def _box_of(detection: Detection) -> Box:
    (x, y), side = detection.center, detection.side
    return Box(x - side / 2, y - side / 2, side, side)


def _is_of(detection: Detection, face: Face) -> bool:
    """Whether a detection is of a face that is known."""
    side = float(np.sqrt(face.box.area))
    distance = np.hypot(detection.center[0] - face.box.center[0], detection.center[1] - face.box.center[1])
    return bool(distance < SAME_MIDDLE * side and 0.4 < detection.side / side < 2.5)


def _overlap(one: Face, other: Face) -> bool:
    """Whether two faces, as they are, cannot both be there."""
    return one.box.iou(other.box) > _MOST_SHARED


def fits(face: Box, hint: Box) -> bool:
    """Whether a box that a caller gave is around this face: each holds the other's middle, and neither is more than
    three times as large as the other."""
    ratio = (hint.area / face.area) ** 0.5
    return 1 / _MAX_HINT_RATIO <= ratio <= _MAX_HINT_RATIO and _holds(hint, face.center) and _holds(face, hint.center)


def are_of(face: Face, landmarks: np.ndarray) -> bool:
    """Whether five points (5, 2) that a caller gave are this face's own."""
    return distance_px(landmarks, face.landmarks.astype(np.float64)) <= MAX_HINT_DISTANCE_PX


def _holds(box: Box, place: tuple[float, float]) -> bool:
    return box.x <= place[0] <= box.x + box.width and box.y <= place[1] <= box.y + box.height


def _is_same(one: Face, other: Face) -> bool:
    distance = np.linalg.norm(one.landmarks - other.landmarks, axis=1).mean()
    return bool(distance < _SAME_FACE * max(one.eye_distance_px, other.eye_distance_px))
