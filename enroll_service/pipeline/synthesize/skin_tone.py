"""Skin tone: what sun, make-up, blood and a camera's rendering of skin change between two photos of one person, and
white balance does not, since hair, eyes and background keep their color."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from enroll_service.pipeline.intake.portrait import Portrait
from enroll_service.pipeline.ops.warping import WIDE_MARGIN, WIDE_SIZE
from facecloak.faces.facemesh import LEFT_EYE, RIGHT_EYE
from facecloak.faces.shape import OUTLINE

# Skin is what has about the face's own median chroma, in levels: brows, beards and glasses are farther off.
_LIKE_SKIN = 10.0
_SOFT_EDGE_PX = 1.5
# mediapipe's canonical mesh: the lips' outline.
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
# How the median over the face differs between photos of one person, standard deviations over 180 photos of the tuning
# people: logarithm of luma 0.15; Cb 5.9 and Cr 5.3 levels, with a correlation of -0.72. White balance and exposure are
# in these and are varied by themselves, so half is taken.
_LOG_LUMA, _CHROMA, _TOGETHER = 0.07, 2.8, -0.72
# JPEG's color space (ITU-T T.871) in RGB, for a step of Cb and of Cr.
_CB_IN_RGB, _CR_IN_RGB = (0.0, -0.344136, 1.772), (1.402, -0.714136, 0.0)


def skin_of(portrait: Portrait) -> np.ndarray:
    """(160, 160) uint8, 0..255, how much each pixel of a portrait's wide crop is skin of the face; all zero where the
    portrait has no mesh."""
    weight = np.zeros((WIDE_SIZE, WIDE_SIZE), np.float32)
    if portrait.mesh is None:
        return weight.astype(np.uint8)
    points = np.round(portrait.mesh[:, :2] + WIDE_MARGIN).astype(np.int32)
    cv2.fillPoly(weight, [points[OUTLINE]], 1.0)
    cv2.fillPoly(weight, [points[list(part)] for part in (LEFT_EYE, RIGHT_EYE, _LIPS)], 0.0)
    chroma = cv2.cvtColor(portrait.wide_srgb_u8, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.float32)
    inside = weight > 0
    if not inside.any():
        return weight.astype(np.uint8)
    away = np.square(chroma - np.median(chroma[inside], axis=0)).sum(axis=2)
    weight *= np.exp(-away / (2 * _LIKE_SKIN**2))
    return np.round(255 * cv2.GaussianBlur(weight, (0, 0), _SOFT_EDGE_PX)).astype(np.uint8)


def vary_skin_tone(crops: Tensor, skin: Tensor, *, amount: float, generator: torch.Generator) -> Tensor:
    """Crops (N, 3, H, W), RGB 0..255, each with the tone of its ``skin`` (N, 1, H, W), 0..1, changed.

    Args:
        amount: 1 as it differs between photos of one person; 0 draws nothing and changes nothing.
    """
    if amount <= 0:
        return crops
    drawn = amount * torch.randn(3, len(crops), 1, 1, 1, generator=generator)
    luma, cb = _LOG_LUMA * drawn[0], _CHROMA * drawn[1]
    cr = _TOGETHER * cb + _CHROMA * (1 - _TOGETHER**2) ** 0.5 * drawn[2]
    tint = sum(step * torch.tensor(axis).view(1, 3, 1, 1) for step, axis in ((cb, _CB_IN_RGB), (cr, _CR_IN_RGB)))
    return (crops * torch.exp(luma * skin) + tint * skin).clamp(0, 255)
