"""Frames of an animation that were searched already: one that shows the same is not searched again.

Who holds a picture for a second, or blinks between two, sends tens of such frames, and each search takes up to a tenth
of a second. The same means every pixel: a face of 30 px that a patch of 12 px hid is found once the patch is gone.
"""

from __future__ import annotations

import hashlib

import numpy as np

from facecloak.cloaking.results import Placed


class KnownFrames:
    """What was found on the frames so far."""

    def __init__(self) -> None:
        self._by_digest: dict[bytes, Placed] = {}

    def placed_on(self, frame: np.ndarray) -> Placed | None:
        """What a search of this frame, (H, W, 4) uint8, found; None: it has to be searched."""
        return self._by_digest.get(_digest(frame))

    def searched(self, frame: np.ndarray, placed: Placed) -> None:
        """A frame was searched, and this was found."""
        self._by_digest[_digest(frame)] = placed


def _digest(frame: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(frame).data).digest()
