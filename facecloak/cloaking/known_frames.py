"""Frames of an animation that were looked at already: what shows the same, or next to the same and nobody, is not
searched again.

Who holds a picture for a second, or blinks a light in it, sends tens of such frames, and each search takes up to a
tenth of a second. Nothing is taken over that could hide a face: either every pixel is the same, or nobody was seen at
all and what changed since that very search has no room for a face.
"""

from __future__ import annotations

import hashlib

import numpy as np

from facecloak.cloaking.results import Placed
from facecloak.cloaking.subject import Outcome

# Half a side of the smallest face that is found (24 px): less than its eyes and mouth take.
_MOST_CHANGED_PX = 12


class KnownFrames:
    """What was found on the frames so far."""

    def __init__(self) -> None:
        self._by_digest: dict[bytes, Placed] = {}
        self._empty: tuple[np.ndarray, Placed] | None = None

    def placed_on(self, frame: np.ndarray) -> Placed | None:
        """What a search of this frame, (H, W, 4) uint8, would find; None: it has to be searched."""
        known = self._by_digest.get(_digest(frame))
        if known is None and self._empty is not None:
            before, placed = self._empty
            if _changed_side_px(before, frame) <= _MOST_CHANGED_PX:
                return placed
        return known

    def searched(self, frame: np.ndarray, placed: Placed) -> None:
        """A frame was searched, and this was found; the frame is kept and must stay as it is."""
        self._by_digest[_digest(frame)] = placed
        if all(result.outcome is Outcome.NO_FACE and not result.faces for result in placed.results.values()):
            self._empty = frame, placed


def _digest(frame: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(frame).data).digest()


def _changed_side_px(before: np.ndarray, after: np.ndarray) -> int:
    """The longer side of the smallest box around all that differs between two frames; 0 where nothing does."""
    differs = (before.view(np.uint32) != after.view(np.uint32))[:, :, 0]
    sides = (np.flatnonzero(differs.any(axis=axis)) for axis in (0, 1))
    return max(int(places[-1] - places[0]) + 1 if places.size else 0 for places in sides)
