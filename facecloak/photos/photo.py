"""What a decoded photo is."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from facecloak.photos.orientation import to_upright


class PhotoFormat(StrEnum):
    """The formats that are taken and returned; HEIC and AVIF only where the limits have them."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"
    HEIC = "HEIC"
    AVIF = "AVIF"


USUAL_FORMATS = frozenset((PhotoFormat.JPEG, PhotoFormat.PNG, PhotoFormat.WEBP))
"""The formats that are taken without asking. The decoders of the others have a history of faults."""


Rectangle = tuple[int, int, int, int]
"""(left, top, right, bottom) px, right and bottom exclusive."""


@dataclass(frozen=True)
class Encoded:
    """A changed photo's file, and what of the original's metadata is not in it as it was
    (:class:`facecloak.photos.metadata.Report`)."""

    data: bytes
    dropped: tuple[str, ...] = ()


class Encoding(Protocol):
    """How one photo was encoded, and so how its changed pixels are to be encoded again."""

    @property
    def format(self) -> PhotoFormat: ...

    @property
    def stored_u16(self) -> np.ndarray | None:
        """(H, W, 1..4) uint16, stored: gray or RGB, with alpha where there is any; None where the file has 8 bits."""
        ...

    def encode(self, stored: np.ndarray, *, faces: Sequence[Rectangle]) -> Encoded:
        """Encode pixels in the stored (not upright) orientation: (H, W, 3) uint8 RGB, or such as :attr:`stored_u16`
        are, where the file has these. ``faces``: where nothing of the old picture may be left in companions, px of the
        stored photo."""
        ...


@dataclass(frozen=True)
class Decoded:
    """What a codec returns: stored pixels (H, W, 3) uint8 RGB, the EXIF orientation, and how to encode again."""

    stored_srgb_u8: np.ndarray
    orientation: int
    encoding: Encoding


@dataclass(frozen=True, eq=False, repr=False)
class Photo:
    """A photo ready to be looked at.

    Attributes:
        srgb_u8: (H, W, 3) uint8 RGB, upright (EXIF orientation applied), read-only. These are the *stored* values: an
            ICC profile is kept in the file but not applied; in a wide-gamut photo a level is one of its own gamut.
            Gray photos have three equal channels. Alpha is kept aside.
        orientation: the EXIF orientation 1..8 that the file has and keeps.
        data: the file as it came.
        encoding: how the file was encoded.
    """

    srgb_u8: np.ndarray
    orientation: int
    data: bytes
    encoding: Encoding

    @property
    def format(self) -> PhotoFormat:
        return self.encoding.format

    @functools.cached_property
    def samples_u16(self) -> np.ndarray | None:
        """(H, W, 1..4) uint16, upright, read-only: gray or RGB, with alpha where there is any, as fine as the file has
        them; None where it has 8 bits."""
        stored = self.encoding.stored_u16
        if stored is None:
            return None
        upright = to_upright(stored, self.orientation).reshape(self.height, self.width, stored.shape[2])
        upright = upright.view()
        upright.setflags(write=False)
        return upright

    @property
    def width(self) -> int:
        """Upright width, px."""
        return self.srgb_u8.shape[1]

    @property
    def height(self) -> int:
        """Upright height, px."""
        return self.srgb_u8.shape[0]

    def __repr__(self) -> str:
        return f"Photo({self.format}, {self.width}x{self.height}, orientation={self.orientation})"
