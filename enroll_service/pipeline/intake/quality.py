"""What an enrolled photo lacks that masks are learned from, and what is done about it: tones, sharpness, hidden parts.

The mask of a person is brought to a similarity *on the enrolled photo*. Where that photo has little contrast, little
change is all that the similarity allows, and on the person's other photos the mask is faint. So a face of less contrast
than photos of faces have is stretched to what they usually have before anything is learned from it.

Figures: 560 news photos of 420 people, aligned crops. docs/experiments.md has what masks from worsened photos still do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

# Luma between the 2nd and the 98th percentile, levels: 103 the least of all news photos, 167 the lower quartile, and
# their usual mean.
_LEAST_RANGE = 100.0
_USUAL_RANGE = 165.0
_USUAL_MEAN = 117.0

# Beyond that a dark photo is noise.
_LARGEST_GAIN = 6.0

# Variance of the Laplacian: 2 in 100 news photos have less than 53, the median 195.
_SHARP = 55.0

# Parts of the aligned crop (rows, columns): whatever the face, its eyes and mouth are near there.
_EYES = (slice(44, 60), slice(28, 50)), (slice(44, 60), slice(62, 84))
_CHEEKS = (slice(64, 84), slice(22, 36)), (slice(64, 84), slice(76, 90))
_MOUTH = (slice(84, 102), slice(42, 70))

# The brighter eye's luma over the cheeks': 0.83 the median; 4 of 560 have less than this, two with sunglasses and two
# with eyes in deep shade.
_OPEN_EYES = 0.3

# Lips are redder than cheeks, and shaded or bearded mouths not much less so: Cr of the mouth's reddest fifth over that
# of the cheeks, levels; 3 the median, -7 the least of 1 in 200.
_BARE_MOUTH = -10.0


@dataclass(frozen=True)
class Tones:
    """A change of levels, ``gain * level + offset``, the same for all colors."""

    gain: float = 1.0
    offset: float = 0.0

    def apply(self, srgb_u8: np.ndarray) -> np.ndarray:
        """The picture (H, W, 3) uint8 with its levels changed; itself where nothing changes."""
        if self.gain == 1:
            return srgb_u8
        return np.clip(srgb_u8 * np.float32(self.gain) + np.float32(self.offset), 0, 255).round().astype(np.uint8)


def usual_tones(crop_srgb_u8: np.ndarray) -> Tones:
    """What brings an aligned crop (112, 112, 3) uint8 of too little contrast to the usual; no change for others."""
    luma = _luma(crop_srgb_u8)
    low, high = np.percentile(luma, (2, 98))
    if high - low >= _LEAST_RANGE:
        return Tones()
    gain = min(_USUAL_RANGE / max(float(high - low), 1.0), _LARGEST_GAIN)
    return Tones(gain=gain, offset=_USUAL_MEAN - gain * float(luma.mean()))


def sharpness(crop_srgb_u8: np.ndarray) -> float:
    """Variance of the Laplacian of a crop's luma, levels squared."""
    return float(cv2.Laplacian(cv2.cvtColor(crop_srgb_u8, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def doubts_about(crop_srgb_u8: np.ndarray, *, tones: Tones) -> tuple[str, ...]:
    """Sentences on what an enrolled face lacks; none for a usual photo.

    Args:
        crop_srgb_u8: (112, 112, 3) uint8 aligned crop, its tones as they are learned from.
        tones: how these were brought there.
    """
    doubts = []
    if tones.gain != 1:
        doubts.append("The enrolled face has little contrast (too dark, too bright or in haze); better light helps.")
    if sharpness(crop_srgb_u8) < _SHARP:
        doubts.append("The enrolled face is not sharp; a sharper photo gives a better mask.")
    luma = _luma(crop_srgb_u8)
    cheeks = max(float(np.median(np.concatenate([luma[part].ravel() for part in _CHEEKS]))), 1.0)
    if max(float(np.median(luma[part])) for part in _EYES) / cheeks < _OPEN_EYES:
        doubts.append("The eyes seem to be covered or in deep shade; a photo that shows them gives a better mask.")
    red = cv2.cvtColor(crop_srgb_u8, cv2.COLOR_RGB2YCrCb)[:, :, 1]
    cheek_red = float(np.median(np.concatenate([red[part].ravel() for part in _CHEEKS])))
    if float(np.percentile(red[_MOUTH], 80)) - cheek_red < _BARE_MOUTH:
        doubts.append("The mouth seems to be covered; a photo that shows it gives a better mask.")
    return tuple(doubts)


def shared_doubts(doubts: Iterable[tuple[str, ...]]) -> list[str]:
    """The sentences that are true of every photo: what one lacks, another may have."""
    first, *rest = doubts
    return [doubt for doubt in first if all(doubt in other for other in rest)]


def _luma(srgb_u8: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(srgb_u8, cv2.COLOR_RGB2GRAY).astype(np.float32)
