"""A photo that is being cloaked: looked at as cheaply as it can be, and changed as little as it can be."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from facecloak.call_context import StepObserver, interruption, whole_photo
from facecloak.cloaking.blend import add_in_place
from facecloak.cloaking.placement import FacePlacement, Placement, place_mask, square_bounds, square_side_px
from facecloak.faces import ALIGNED_SIZE, Face, aligned_crop
from facecloak.masks.mask import Mask
from facecloak.photos import PhotoLimits, decode_photo, encode_reported
from facecloak.photos.changed_region import Rectangle
from facecloak.photos.kept_change import kept_along, part_of
from facecloak.photos.native_splice import CannotSplice
from facecloak.photos.photo import Photo, PhotoFormat
from facecloak.photos.pieces import Pieces
from facecloak.photos.splice import JpegSplice, Look

FAINTEST_KEPT = 0.5
"""Root mean square, in levels of 0..255 over the mask's part of the photo, below which a mask is as good as lost."""

# A file just written may be larger than what is taken.
_OF_OWN_FILES = PhotoLimits(max_bytes=2**31, max_pixels=2**31, max_side=65_535, formats=frozenset(PhotoFormat))


class EncodingPath(StrEnum):
    """How a photo was changed. The values are labels of metrics, too."""

    SPLICED = "splice"
    """Only the faces' blocks were coded again; every other byte is the original's."""
    REENCODED = "full"
    """Decoded, changed and encoded again."""
    UNCHANGED = "unchanged"
    """The very bytes that came."""


class PhotoSession:
    """A photo's size at once, its pixels when they are asked for. Not for two threads at once.

    Attributes:
        width, height: upright px.
        orientation: the EXIF orientation 1..8.
        fallback_reason: why the photo is decoded and encoded again; empty while it need not be.
        kept: of each mask that was last added, the root mean square of what the photo's coding keeps of it, in levels.
        dropped: once masks were added, what of the metadata is not there as it was
            (:class:`facecloak.photos.metadata.Report`).
    """

    def __init__(self, data: bytes, *, limits: PhotoLimits, observer: StepObserver) -> None:
        """Raises the refusals of :func:`facecloak.photos.decode_photo`; for a JPEG that can be spliced only those that
        its header gives reason for."""
        self._data = data
        self._limits = limits
        self._observer = observer
        self._decoded: Photo | None = None
        self._splice: JpegSplice | None = None
        self.fallback_reason = ""
        self.dropped: tuple[str, ...] = ()
        self.kept: tuple[float, ...] = ()
        self._faces: list[Rectangle] = []
        try:
            self._splice = JpegSplice(data, limits=limits)
            self.width, self.height = self._splice.width, self._splice.height
            self.orientation = self._splice.orientation
        except CannotSplice as error:
            self._give_up(error)
            self.width, self.height = self._photo.width, self._photo.height
            self.orientation = self._photo.orientation

    @property
    def srgb_u8(self) -> np.ndarray:
        """The whole photo, upright (H, W, 3) uint8 RGB, read-only."""
        return self._photo.srgb_u8

    def look(self, part: Rectangle, *, smallest_scale: float, keep: bool = False) -> Look | None:
        """A part of the photo without the rest, at least ``smallest_scale`` large; None where only the whole is to be
        had."""
        if self._splice is None:
            return None
        try:
            return self._splice.look(part, smallest_scale=smallest_scale, keep=keep)
        except CannotSplice as error:
            self._give_up(error)
            return None

    def place(self, mask: Mask, face: Face, *, mesh: np.ndarray | None = None, strength: float = 1.0) -> FacePlacement:
        """The mask on a face of this photo, fitted to how the photo shows the face; for the arguments see
        :func:`facecloak.cloaking.placement.place_mask`."""
        self._faces.append(square_bounds(face, width=self.width, height=self.height))
        crop = self._aligned_crop(face, keep=mask.moves) if mask.paints else None
        return place_mask(mask, face, mesh=mesh, strength=strength, crop_u8=crop)

    def _aligned_crop(self, face: Face, *, keep: bool = False) -> np.ndarray:
        """(112, 112, 3) uint8 RGB: :func:`facecloak.faces.aligned_crop`, of a JPEG's part alone where that will do.

        Args:
            keep: keep what is decoded of a JPEG for :meth:`added`, which moves it.
        """
        bounds = square_bounds(face, width=self.width, height=self.height)
        empty = bounds[0] >= bounds[2] or bounds[1] >= bounds[3]
        look = None
        if self._decoded is None and not empty:
            look = self.look(bounds, smallest_scale=ALIGNED_SIZE / square_side_px(face), keep=keep)
        if look is None:
            return aligned_crop(self.srgb_u8, face.landmarks)
        # Pixel centers are whole numbers, in both.
        return aligned_crop(look.srgb_u8, (face.landmarks + 0.5 - (look.left, look.top)) * look.scale - 0.5)

    def added(self, placements: Sequence[Placement]) -> tuple[bytes | Pieces, EncodingPath]:
        """The photo with the placed masks added; the photo as it came where a mask would be lost in it, which
        :attr:`kept` then tells."""
        if self._splice is not None:
            try:
                with self._observer("add"):
                    changes = self._splice.changes(placements)
                    interruption.get()()
                    self.kept = tuple(self._splice.kept(placement, changes) for placement in placements)
                    interruption.get()()
                    pieces = (
                        None if self.is_any_lost else self._splice.added(placements, changes=changes, faces=self._faces)
                    )
                if pieces is None:
                    return self._data, EncodingPath.UNCHANGED
                self.dropped = pieces.dropped
                return pieces, EncodingPath.SPLICED
            except CannotSplice as error:
                self._give_up(error)
        return self._added_to_pixels(placements)

    @property
    def is_any_lost(self) -> bool:
        """Whether of a mask that was last added less than FAINTEST_KEPT is kept."""
        return any(kept < FAINTEST_KEPT for kept in self.kept)

    def _added_to_pixels(self, placements: Sequence[Placement]) -> tuple[bytes, EncodingPath]:
        photo, check = self._photo, interruption.get()
        check()
        samples = photo.srgb_u8 if photo.samples_u16 is None else photo.samples_u16
        parts = [placement.bounds(width=self.width, height=self.height) for placement in placements]
        before = [part_of(samples, part) for part in parts]
        cloaked = samples.copy()
        with self._observer("add"):
            for placement in placements:
                check()
                add_in_place(cloaked, placement)
        wanted = [part_of(cloaked, part) - old for part, old in zip(parts, before, strict=True)]
        self.kept = tuple(kept_along(change, change) for change in wanted)
        if self.is_any_lost:
            return self._data, EncodingPath.UNCHANGED
        check()
        with self._observer("encode"):
            encoded = encode_reported(photo, cloaked, faces=self._faces)
        check()
        if encoded.data is photo.data:
            self.kept = (0.0,) * len(placements)
            return self._data, EncodingPath.UNCHANGED
        if photo.format is not PhotoFormat.PNG:
            del cloaked
            shown = decode_photo(encoded.data, limits=_OF_OWN_FILES).srgb_u8
            got = [part_of(shown, part) - old for part, old in zip(parts, before, strict=True)]
            self.kept = tuple(kept_along(*pair) for pair in zip(wanted, got, strict=True))
            if self.is_any_lost:
                return self._data, EncodingPath.UNCHANGED
        self.dropped = encoded.dropped
        return encoded.data, EncodingPath.REENCODED

    @property
    def _photo(self) -> Photo:
        if self._decoded is None:
            whole_photo.get()()
            with self._observer("decode"):
                self._decoded = decode_photo(self._data, limits=self._limits)
            interruption.get()()
        return self._decoded

    def _give_up(self, error: CannotSplice) -> None:
        self._splice = None
        self.fallback_reason = error.fault.name
