"""What a decoded photo is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np


class PhotoFormat(StrEnum):
    """The formats that are taken and returned."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"


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

    def encode(self, stored_srgb_u8: np.ndarray) -> Encoded:
        """Encode (H, W, 3) uint8 RGB pixels in the stored (not upright) orientation."""
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
