"""How visible a mask is: SSIMULACRA2, FLIP and JOD, which follow people's eyes; SSIM, PSNR, largest change, color.

SSIMULACRA2 and FLIP are `perceived_difference`'s, JOD is `color_video_vdp`'s.

SSIM is scikit-image's ``structural_similarity`` with its default 7x7 uniform window, K1 = 0.01, K2 = 0.03, sample
covariance, data range 255, the mean over the three sRGB channels (Wang et al., IEEE TIP 13(4), 2004). Both pictures are
uint8 at the size stated; nothing is rescaled, shifted or wrapped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from facecloak_evaluation import color_video_vdp
from facecloak_evaluation.perceived_difference import check_pictures, flip_99, ssimulacra2

if TYPE_CHECKING:
    from facecloak.faces import Box

SSIM_WINDOW = 7
VISIBILITY_DESCRIPTIONS = {
    "ssim": "scikit-image structural_similarity, 7x7 uniform window, data range 255, mean of R, G and B",
    "ssimulacra2": "SSIMULACRA2, at the picture's own size",
    "flip_99": "99th percentile over pixels of FLIP, 67 px a degree, at the picture's own size",
    "jod": color_video_vdp.DESCRIPTION,
}
"""What each figure is, for a reader of the ledger."""

# ITU-R BT.601 full range (JFIF), what JPEG uses: rows Y, Cb, Cr of R, G, B.
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])

PSNR_CEILING_DB = 100.0
"""Reported for equal pictures, whose PSNR is infinite and not JSON."""


@dataclass(frozen=True)
class Visibility:
    """What a viewer could see between two pictures of the same size.

    Attributes:
        ssim: -1..1, 1 = equal.
        psnr_db: peak signal-to-noise ratio over all channels, at most 100.
        largest_change_levels: 0..255.
        rms_change_levels: root mean square over all channels.
        chroma_rms_levels: root mean square of the change in Cb and Cr together.
        chroma_share: share 0..1 of the squared change (Y + Cb + Cr) that lies in Cb and Cr; 0 for no change.
        ssimulacra2: at most 100, 90 = no visible difference, 70 = not noticed without the original; None where it was
            not asked for.
        flip_99: 99th percentile of FLIP, 0..1; None likewise.
        jod: 10 = no difference; None likewise, and where ColorVideoVDP is not installed.
    """

    ssim: float
    psnr_db: float
    largest_change_levels: int
    rms_change_levels: float
    chroma_rms_levels: float
    chroma_share: float
    ssimulacra2: float | None = None
    flip_99: float | None = None
    jod: float | None = None


def visibility(original_srgb_u8: np.ndarray, changed_srgb_u8: np.ndarray) -> Visibility:
    """Compare two (H, W, 3) uint8 pictures, H and W >= 8, quickly: without what :func:`visibility_to_people` adds.

    Raises:
        ValueError: shapes differ, not uint8 RGB, or too small to have a structure.
    """
    from skimage.metrics import structural_similarity  # enrollment and evaluation only: apply never imports it

    check_pictures(original_srgb_u8, changed_srgb_u8)
    change = changed_srgb_u8.astype(np.float64) - original_srgb_u8.astype(np.float64)
    mean_square = float(np.mean(change**2))
    ycbcr = change @ YCBCR.T
    energy = np.mean(ycbcr**2, axis=(0, 1))
    chroma, total = float(energy[1:].sum()), float(energy.sum())
    ssim = structural_similarity(
        original_srgb_u8, changed_srgb_u8, channel_axis=2, data_range=255, win_size=SSIM_WINDOW
    )
    return Visibility(
        ssim=float(ssim),
        psnr_db=min(PSNR_CEILING_DB, 10 * math.log10(255.0**2 / mean_square)) if mean_square > 0 else PSNR_CEILING_DB,
        largest_change_levels=int(np.abs(change).max()),
        rms_change_levels=mean_square**0.5,
        chroma_rms_levels=chroma**0.5,
        chroma_share=chroma / total if total > 0 else 0.0,
    )


def visibility_to_people(original_srgb_u8: np.ndarray, changed_srgb_u8: np.ndarray) -> Visibility:
    """:func:`visibility` with SSIMULACRA2, FLIP and, where ColorVideoVDP is installed, JOD: 0.3 to 0.5 s a face."""
    return replace(
        visibility(original_srgb_u8, changed_srgb_u8),
        ssimulacra2=ssimulacra2(original_srgb_u8, changed_srgb_u8),
        flip_99=flip_99(original_srgb_u8, changed_srgb_u8),
        jod=color_video_vdp.jod(original_srgb_u8, changed_srgb_u8) if color_video_vdp.is_available() else None,
    )


def crop_to_box(srgb_u8: np.ndarray, box: Box) -> np.ndarray:
    """The part of (H, W, 3) pixels inside a box, cut at the photo's edges; at least 1 px a side."""
    height, width = srgb_u8.shape[:2]
    left, top = int(np.clip(np.floor(box.x), 0, width - 1)), int(np.clip(np.floor(box.y), 0, height - 1))
    right = int(np.clip(np.ceil(box.x + box.width), left + 1, width))
    bottom = int(np.clip(np.ceil(box.y + box.height), top + 1, height))
    return srgb_u8[top:bottom, left:right]
