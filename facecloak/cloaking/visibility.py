"""How visible a small change of a face is at the size at which it is seen.

The aligned crop of 112 px fills a phone: 448 px at 60 px a degree, so 15 px of the crop a degree. The change is taken
to first order as a change of light, split into the octaves of a Laplacian pyramid, and each place weighed by what the
eye sees of it on the local light and by what the photo's own detail of that octave masks. Two figures come out, each in
proportion to the change: one predicts ColorVideoVDP's JOD (Mantiuk et al., SIGGRAPH 2024), which is about fine detail,
the other SSIMULACRA2, which is about coarse detail, too. Luma only.

The constants were fitted by least squares to ColorVideoVDP 0.5.7 (448 px a crop, 60 px a degree) and SSIMULACRA2 0.3.0
(crops enlarged to 144 px: it has one scale more there than at 112, and that counts) of 330 gray changes of crops of 20
people: noise of one and of several octaves, learned masks as they are, mirrored, smoothed, sharpened. On people not
fitted on: rank correlation 0.969 and 0.971, error 0.20 JOD above 7.9 and 3.5 above 45; of learned masks 0.11 and 2.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

RGB = (0.2126, 0.7152, 0.0722)
"""Shares of R, G and B in light (ITU-R BT.709)."""
GAMMA = 2.2
PEAK, BLACK = 200.0, 0.6
"""Light of white and of black on the display, cd/m2."""
OCTAVES = 5
"""7.5 to 3.75 cycles a degree, an octave below each, and what is left (7 x 7)."""
ADAPTATION = 0.3
"""What is seen of a contrast grows with this power of the light."""
DARKEST = 0.05
"""Least light below an octave that contrast is taken of, cd/m2."""
MASKING, MASKING_EXPONENT = 4.0, 0.35
SPREAD_PX = 1.5
"""Over which detail masks, px of the octave's own grid."""
JOD_WEIGHTS = (7.99, 13.82, 2.1, 0.0, 0.0)
JOD_EXPONENT = 1.437
SSIMULACRA2_WEIGHTS = (5.3, 25.3, 33.2, 51.9, 50.0)
"""The last is set by hand (fitted 6.4): nothing is to change the light of a whole face."""
SSIMULACRA2_EXPONENT = 0.993
BEST_JOD, BEST_SSIMULACRA2 = 10.0, 100.0
"""Of two equal pictures."""

_SSIMULACRA2_UNIT = 10.0
_LEVELS = np.arange(256, dtype=np.float64) / 255
_LIGHT = [(PEAK * share * _LEVELS**GAMMA).astype(np.float32) for share in RGB]
_SLOPE = [(PEAK * share * GAMMA / 255 * _LEVELS ** (GAMMA - 1)).astype(np.float32) for share in RGB]
_WEIGHTS = np.square([JOD_WEIGHTS, SSIMULACRA2_WEIGHTS])


@dataclass(frozen=True)
class VisibilityBudget:
    """What may be seen of a change.

    Attributes:
        jod: the least JOD that it keeps, below 10; None for any.
        ssimulacra2: the least SSIMULACRA2 that it keeps, below 100; None for any.
    """

    jod: float | None = None
    ssimulacra2: float | None = None

    @property
    def visibilities(self) -> np.ndarray:
        """(2,) the largest visibilities, for JOD and for SSIMULACRA2; infinite where any may be."""
        lost = (
            np.inf if self.jod is None else BEST_JOD - self.jod,
            np.inf if self.ssimulacra2 is None else (BEST_SSIMULACRA2 - self.ssimulacra2) / _SSIMULACRA2_UNIT,
        )
        return np.array([lost[0] ** (1 / JOD_EXPONENT), lost[1] ** (1 / SSIMULACRA2_EXPONENT)])


def predicted(visibilities: np.ndarray) -> tuple[float, float]:
    """JOD (10 is nothing seen; 1 less, and 3 of 4 people choose the original of the two) and SSIMULACRA2 (100; 80 is
    not noticed side by side) of the two figures of :meth:`Eye.visibilities`."""
    jod = BEST_JOD - visibilities[0] ** JOD_EXPONENT
    return float(jod), float(BEST_SSIMULACRA2 - _SSIMULACRA2_UNIT * visibilities[1] ** SSIMULACRA2_EXPONENT)


@dataclass(frozen=True, eq=False)
class Eye:
    """What is seen on one crop: made once, asked for any change of it.

    Attributes:
        slopes: three (112, 112) float32: what a level more of R, G and B adds to the light, cd/m2.
        weights: by octave, the finest first, float32: what a change of light counts there.
    """

    slopes: tuple[np.ndarray, ...]
    weights: tuple[np.ndarray, ...]

    @classmethod
    def on(cls, crop_u8: np.ndarray) -> Eye:
        """For a crop (112, 112, 3) uint8 RGB."""
        channels = cv2.split(crop_u8)
        light = np.full(crop_u8.shape[:2], BLACK, np.float32)
        for table, channel in zip(_LIGHT, channels, strict=True):
            light += cv2.LUT(channel, table)
        weights = []
        for octave, ground in _octaves(light):
            contrast = cv2.pow(np.maximum(ground, DARKEST), ADAPTATION - 1)
            if octave is not ground:
                detail = cv2.GaussianBlur(np.abs(octave * contrast), (0, 0), SPREAD_PX) * MASKING
                contrast = contrast / cv2.pow(1 + detail * detail, MASKING_EXPONENT)
            weights.append(contrast)
        slopes = tuple(cv2.LUT(channel, table) for table, channel in zip(_SLOPE, channels, strict=True))
        return cls(slopes, tuple(weights))

    def visibilities(self, change: np.ndarray) -> np.ndarray:
        """(2,) for JOD and for SSIMULACRA2, of a change (112, 112, 3) float32, levels of R, G and B."""
        light = np.zeros(change.shape[:2], np.float32)
        for slope, levels in zip(self.slopes, cv2.split(change), strict=True):
            light += slope * levels
        seen = []
        for (octave, _), weight in zip(_octaves(light), self.weights, strict=True):
            seen.append(np.square(cv2.norm(octave * weight)) / octave.size)
        return np.sqrt(_WEIGHTS @ np.array(seen))

    def strength(self, change: np.ndarray, budget: VisibilityBudget) -> float:
        """The factor that brings a change just within the budget on this crop."""
        return float(1 / max(float((self.visibilities(change) / budget.visibilities).max()), 1e-9))


def _octaves(picture: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """A Laplacian pyramid, each octave with what lies below it; the last is what is left, below itself."""
    octaves = []
    for _ in range(OCTAVES - 1):
        small = cv2.pyrDown(picture)
        ground = cv2.pyrUp(small, dstsize=(picture.shape[1], picture.shape[0]))
        octaves.append((picture - ground, ground))
        picture = small
    return [*octaves, (picture, picture)]
