"""The mask as people will see it: on the enrolled photo at the photo's own size, put on as ApplyCloak does it.

Stage two measures visibility on the aligned crop, 112 px a side. On a large portrait the same mask is stretched over
skin that is smooth from pixel to pixel, and shows more than the crop says.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facecloak.cloaking.blend import add_in_place
from facecloak.cloaking.placement import place_mask
from facecloak.faces import Box, Face, aligned_crop
from facecloak.masks.mask import MASK_SIZE, Mask

# Nobody sees more pixels of a face at once on a screen; and a face of 48 megapixels would take seconds to compare.
_LARGEST_PX = 768

# Where a mask that changes the whole crop lies depends on the face alone; one that changes nothing lies nowhere.
_ANY_MASK = Mask.new(np.ones((MASK_SIZE, MASK_SIZE, 3), np.int8), seed=0)


@dataclass(frozen=True, eq=False, repr=False)
class PhotoView:
    """The part of an enrolled photo that a mask can change.

    Attributes:
        srgb_u8: (H, W, 3) uint8 RGB at the photo's own size, or smaller where that is over 768 px a side.
        face: the face in it, px of ``srgb_u8``.
        mesh: (468, 3) its face mesh in the same px; None where it has none.
    """

    srgb_u8: np.ndarray
    face: Face
    mesh: np.ndarray | None = None

    def masked(self, mask: Mask) -> np.ndarray:
        """The part as the mask leaves it, of the same shape."""
        changed = self.srgb_u8.copy()
        crop = aligned_crop(self.srgb_u8, self.face.landmarks)
        add_in_place(changed, place_mask(mask, self.face, mesh=self.mesh, crop_u8=crop))
        return changed


def view_of(srgb_u8: np.ndarray, face: Face, mesh: np.ndarray | None) -> PhotoView:
    """The view of a face in an upright photo (H, W, 3) uint8 RGB, ``face`` and ``mesh`` in its px."""
    height, width = srgb_u8.shape[:2]
    left, top, right, bottom = place_mask(_ANY_MASK, face).bounds(width=width, height=height)
    part = srgb_u8[top:bottom, left:right]
    scale = min(1.0, _LARGEST_PX / max(part.shape[:2]))
    if scale < 1:
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    # Pixel centers are whole numbers, so a resized picture's points move by half a pixel, too.
    offset = np.array([left, top]) - (0.5 / scale - 0.5)
    points = (face.landmarks - offset) * scale
    box = Box((face.box.x - left) * scale, (face.box.y - top) * scale, face.box.width * scale, face.box.height * scale)
    return PhotoView(
        srgb_u8=np.ascontiguousarray(part),
        face=Face(box=box, landmarks=points, score=face.score),
        mesh=None if mesh is None else np.hstack([(mesh[:, :2] - offset) * scale, mesh[:, 2:] * scale]),
    )
