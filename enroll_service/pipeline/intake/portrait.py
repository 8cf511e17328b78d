"""Before stage one: exactly one usable face a photo, or a typed refusal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from enroll_service.pipeline.errors import (
    FaceBlurred,
    FaceCutOff,
    FaceTooSmall,
    NoFace,
    PhotoAlreadyCloaked,
    SeveralFaces,
)
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.quality import doubts_about, sharpness, usual_tones
from enroll_service.pipeline.intake.view import PhotoView, view_of
from enroll_service.pipeline.ops.inpainting import fill_beyond_photo
from enroll_service.pipeline.ops.warping import WIDE_MARGIN, WIDE_SIZE
from enroll_service.pipeline.settings import IntakeSettings
from facecloak.cloaking.hint_advice import advice_on
from facecloak.cloaking.subject import Subject
from facecloak.faces import (
    ALIGNED_SIZE,
    Box,
    Face,
    FaceFinder,
    InvalidBox,
    aligning_transform,
    inverse_transform,
    main_face,
)
from facecloak.faces.frame import mesh_in_crop
from facecloak.photos import AnimatedPhoto, decode_photo
from facecloak.photos.animation import read_animation, still_of
from facecloak.photos.file_tag import payload_of


@dataclass(frozen=True, eq=False, repr=False)
class Portrait:
    """One accepted photo, reduced to its face.

    Attributes:
        wide_srgb_u8: (160, 160, 3) uint8 RGB: the aligned crop with a margin of 24 px to each side, in usual tones;
            beyond the photo's edge it is filled from what lies there.
        sharpness: variance of the Laplacian of the crop's luma, levels squared.
        eye_distance_px: between the eye centers in the photo.
        mesh: (468, 3) float64 face mesh, px of the aligned crop with depth away from the camera; None where no mesh is
            surely the face's.
        view: the face at the photo's own size, in usual tones; None for a picture that nobody will look at.
        doubts: what the photo lacks, in sentences for the user.
    """

    wide_srgb_u8: np.ndarray
    sharpness: float
    eye_distance_px: float
    mesh: np.ndarray | None = None
    view: PhotoView | None = None
    doubts: tuple[str, ...] = ()

    @property
    def crop(self) -> np.ndarray:
        """(1, 3, 112, 112) float32, RGB 0..255."""
        return np.ascontiguousarray(_inner(self.wide_srgb_u8).transpose(2, 0, 1)[None], dtype=np.float32)


def portrait_from(photo: EnrollmentPhoto, *, index: int, finder: FaceFinder, settings: IntakeSettings) -> Portrait:
    """The one usable face of a photo.

    Raises:
        NoFace, SeveralFaces, FaceTooSmall, FaceCutOff, FaceBlurred, PhotoAlreadyCloaked: the photo does not qualify.
        PhotoError: the bytes are no photo that is taken (see :mod:`facecloak.photos`).
    """
    limits = settings.photo_limits
    animation = read_animation(photo.data, limits)
    if animation is not None and len(animation.durations_ms) > 1:
        raise AnimatedPhoto(
            f"The photo is {animation.format}, with {len(animation.durations_ms)} frames: send a still photo.",
            format=animation.format,
        )
    decoded = decode_photo(still_of(photo.data, limits=limits), limits=limits)  # a GIF may well be a still
    # Whoever's mask it is, and whether or not the picture was changed since: nobody tags a photo that was not cloaked.
    if payload_of(photo.data) is not None:
        raise PhotoAlreadyCloaked("The photo was cloaked already: send the original.", photo=index)
    return portrait_of(
        decoded.srgb_u8,
        hint=photo.face,
        orientation=decoded.orientation,
        index=index,
        finder=finder,
        settings=settings,
    )


def portrait_of(
    srgb_u8: np.ndarray,
    *,
    hint: Box | None = None,
    orientation: int = 1,
    index: int,
    finder: FaceFinder,
    settings: IntakeSettings,
) -> Portrait:
    """The one usable face of an upright photo (H, W, 3) uint8 RGB, or the one in the box ``hint``. ``orientation`` is
    the file's, of EXIF, by which a hint that fits no face may be explained.

    Raises:
        NoFace, SeveralFaces, FaceTooSmall, FaceCutOff, FaceBlurred: the photo does not qualify.
    """
    face = _chosen_face(srgb_u8, hint, orientation=orientation, index=index, finder=finder)
    if face.eye_distance_px < settings.min_eye_distance_px:
        raise FaceTooSmall(
            "The face is too small in the photo.",
            photo=index,
            eye_distance_px=round(face.eye_distance_px, 1),
            min_eye_distance_px=settings.min_eye_distance_px,
        )
    transform = aligning_transform(face.landmarks)
    inside = share_inside(transform, width=srgb_u8.shape[1], height=srgb_u8.shape[0])
    if inside < settings.min_share_inside:
        raise FaceCutOff(
            "The photo cuts the face off.",
            photo=index,
            share_inside=round(inside, 2),
            min_share_inside=settings.min_share_inside,
        )
    portrait = _portrait(srgb_u8, transform, face, finder.mesh_of(srgb_u8, face.landmarks))
    if portrait.sharpness < settings.min_sharpness:
        raise FaceBlurred(
            "The face is blurred.",
            photo=index,
            sharpness=round(portrait.sharpness, 1),
            min_sharpness=settings.min_sharpness,
        )
    return portrait


def share_inside(transform: np.ndarray, *, width: int, height: int) -> float:
    """Share of the aligned square that lies inside a photo of ``width`` x ``height`` px, 0..1, on an 8 x 8 grid."""
    centers = (np.arange(8) + 0.5) * ALIGNED_SIZE / 8
    x, y = np.meshgrid(centers, centers)
    back = inverse_transform(transform)
    points = back[:, :2] @ np.stack([x.ravel(), y.ravel()]) + back[:, 2:]
    inside = (points[0] >= 0) & (points[0] < width) & (points[1] >= 0) & (points[1] < height)
    return float(inside.mean())


def _chosen_face(srgb_u8: np.ndarray, hint: Box | None, *, orientation: int, index: int, finder: FaceFinder) -> Face:
    height, width = srgb_u8.shape[:2]
    if hint is not None:
        face = _face_in(srgb_u8, hint, finder=finder)
        if face is None:
            advice = advice_on(
                Subject("", box=hint), finder.find(srgb_u8), orientation=orientation, width=width, height=height
            )
            raise NoFace(f"No face was found at the given place in the photo. {advice}".strip(), photo=index)
        return face
    faces = finder.find(srgb_u8)
    if not faces:
        raise NoFace("No face was found in the photo.", photo=index)
    face = main_face(faces, width=width, height=height)
    if face is None:
        raise SeveralFaces("The photo shows several faces: say which one it is.", photo=index, found=faces)
    return face


def _face_in(srgb_u8: np.ndarray, hint: Box, *, finder: FaceFinder) -> Face | None:
    try:
        return finder.landmarks_for(srgb_u8, hint)
    except InvalidBox:
        return None


def _portrait(srgb_u8: np.ndarray, transform: np.ndarray, face: Face, mesh: np.ndarray | None) -> Portrait:
    wide = transform.copy()
    wide[:, 2] += WIDE_MARGIN
    crop = cv2.warpAffine(
        srgb_u8, wide, (WIDE_SIZE, WIDE_SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    # A mirror at the photo's edge would show a second face beside a face that is near it.
    crop = fill_beyond_photo(crop, wide, width=srgb_u8.shape[1], height=srgb_u8.shape[0])
    tones = usual_tones(_inner(crop))
    crop = tones.apply(crop)
    view = view_of(srgb_u8, face, mesh)
    return Portrait(
        wide_srgb_u8=crop,
        sharpness=sharpness(_inner(crop)),
        eye_distance_px=face.eye_distance_px,
        mesh=None if mesh is None else mesh_in_crop(mesh, transform),
        view=replace(view, srgb_u8=tones.apply(view.srgb_u8)),
        doubts=doubts_about(_inner(crop), tones=tones),
    )


def _inner(wide: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(wide[WIDE_MARGIN:-WIDE_MARGIN, WIDE_MARGIN:-WIDE_MARGIN])
