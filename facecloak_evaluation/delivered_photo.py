"""The photos of a measurement before and after the service, and what a viewer sees between them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, pstdev
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from facecloak_evaluation.face_extraction import ExtractedFace
from facecloak_evaluation.visibility import Visibility, crop_to_box, visibility, visibility_to_people

if TYPE_CHECKING:
    from facecloak.faces import Box


@dataclass(frozen=True)
class CleanPhoto:
    """One photo of an evaluated person before anything is done to it."""

    owner: str
    number: int
    data: bytes
    srgb_u8: np.ndarray
    seen: ExtractedFace

    @property
    def box(self) -> Box:
        """The uploader's hint: where the face is, px."""
        return self.seen.face.box


@dataclass(frozen=True)
class DeliveredPhoto:
    """One photo as the service delivered it: bytes, and the pixels in them.

    `seconds` is the wall time of the call.
    """

    clean: CleanPhoto
    outcome: str
    data: bytes
    srgb_u8: np.ndarray
    seconds: float = 0.0

    @property
    def is_cloaked(self) -> bool:
        return self.outcome == "CLOAKED"


def decode(data: bytes) -> np.ndarray:
    """Upright pixels of an encoded photo."""
    from facecloak.photos import decode_photo

    return decode_photo(data).srgb_u8


def as_png(srgb_u8: np.ndarray) -> bytes:
    """Pixels as a PNG, which comes back without loss."""
    buffer = io.BytesIO()
    Image.fromarray(srgb_u8).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def mask_box(landmarks: np.ndarray) -> Box:
    """The upright rectangle around the aligned 112 square in the photo: everything that a mask can touch."""
    from facecloak.faces import ALIGNED_SIZE, Box, aligning_transform, inverse_transform

    # Pixel centers are whole numbers, so the square's outline runs from -0.5 to 111.5.
    low, high = -0.5, ALIGNED_SIZE - 0.5
    corners = np.array([[low, low, 1], [high, low, 1], [high, high, 1], [low, high, 1]])
    points = corners @ inverse_transform(aligning_transform(landmarks)).T
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return Box(float(left), float(top), float(right - left), float(bottom - top))


def change_seen(photo: DeliveredPhoto) -> dict[str, Visibility]:
    """How visible the cloak is in the delivered photo: on the face at its own size, and on the aligned crop."""
    from facecloak.faces import aligned_crop

    clean, landmarks = photo.clean.srgb_u8, photo.clean.seen.face.landmarks
    return {
        "face": face_change(photo, since=clean),
        "crop112": visibility(aligned_crop(clean, landmarks), aligned_crop(photo.srgb_u8, landmarks)),
    }


def face_change(photo: DeliveredPhoto, *, since: np.ndarray) -> Visibility:
    """What people see of the cloak on the face at its own size.

    Args:
        since: (H, W, 3) uint8, what it is compared with: the clean photo, or that photo displaced as the mask displaces
            it, beside which what is left was painted.
    """
    box = mask_box(photo.clean.seen.face.landmarks)
    return visibility_to_people(crop_to_box(since, box), crop_to_box(photo.srgb_u8, box))


def visibility_summary(values: Sequence[Visibility]) -> dict[str, float | int]:
    """Over photos, as JSON figures; of what people see also the value that 95 % of the photos reach at least, and how
    much photos differ (standard deviation)."""
    figures: dict[str, float | int] = {
        "ssim_mean": round(fmean(value.ssim for value in values), 4),
        "ssim_median": round(median(value.ssim for value in values), 4),
        "ssim_lowest": round(min(value.ssim for value in values), 4),
        "psnr_db_mean": round(fmean(value.psnr_db for value in values), 2),
        "rms_change_levels_mean": round(fmean(value.rms_change_levels for value in values), 2),
        "largest_change_levels": max(value.largest_change_levels for value in values),
        "chroma_rms_levels_mean": round(fmean(value.chroma_rms_levels for value in values), 3),
        "chroma_share_mean": round(fmean(value.chroma_share for value in values), 3),
    }
    for name, worse in (("jod", 5), ("ssimulacra2", 5), ("flip_99", 95)):
        known = [value for value in (getattr(item, name) for item in values) if value is not None]
        if known:
            figures |= {
                f"{name}_mean": round(fmean(known), 4),
                f"{name}_of_95_percent": round(float(np.percentile(known, worse)), 4),
                f"{name}_spread": round(pstdev(known), 4),
            }
    return figures
