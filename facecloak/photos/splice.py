"""Splicing a JPEG: look at parts of it, add to parts of it, and copy everything else byte for byte.

Taken: what :mod:`facecloak.photos.native_splice` takes, which is one baseline or extended Huffman scan of 8 bits,
gray, YCbCr or RGB, of any sampling. Other JPEGs, and those found damaged on the way, raise CannotSplice and are
decoded and encoded again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facecloak.photos.changed_region import Addend, ChangedRegion, Rectangle
from facecloak.photos.companions import kept_companions
from facecloak.photos.errors import PhotoRefused, PhotoTooLarge
from facecloak.photos.jpeg import SIGNATURE, jpeg_orientation
from facecloak.photos.jpeg_structure import JpegStructure, mended, metadata_end, read_structure
from facecloak.photos.kept_change import kept_in_blocks
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.metadata.embedded import holds_letters
from facecloak.photos.metadata.jpeg_segments import cleaned_segments
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.report import Report
from facecloak.photos.native_splice import CannotSplice, Change, Fault, NativeScan, Replacement
from facecloak.photos.orientation import inverse_of, to_stored, to_upright, turned_rectangle
from facecloak.photos.pieces import Pieces

_EOI_BYTES = 2
# JFIF 1.02, "Conversion to and from RGB": ITU-R BT.601 at full range.
_RGB_TO_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], np.float32
)
_BLOCK = 8
# Bicubic interpolation looks so far.
_FILTER_SAMPLES = 2
# The whole photo is kept at no more samples a block side than this: at 2, 12 megapixels take 1.1 MB.
_KEPT_POINTS = 2
# Around a look that is kept: what is moved at its edge comes from no further off, as a rule.
_KEPT_MARGIN_PX = 6


@dataclass(frozen=True, eq=False)
class Look:
    """A part of the upright photo, as small as ``scale`` says.

    Attributes:
        srgb_u8: (h, w, 3) uint8 RGB.
        left, top: the part's corner in the photo, px.
        scale: px of ``srgb_u8`` that a px of the photo becomes, in eighths.
    """

    srgb_u8: np.ndarray
    left: int
    top: int
    scale: float


class JpegSplice:
    """A JPEG that can be spliced. Not for two threads at once.

    Attributes:
        width, height: upright px.
        orientation: EXIF orientation 1..8.
    """

    def __init__(self, data: bytes, *, limits: PhotoLimits) -> None:
        """Reads the header alone; the scan's data is parsed as far as it is needed.

        Raises:
            PhotoTooLarge: beyond ``limits``.
            CannotSplice: to be decoded and encoded again.
        """
        if not SIGNATURE.match(data):
            raise CannotSplice(Fault.NOT_A_JPEG)
        structure = _header_of(data, limits)
        if structure.gaps:
            data = mended(data, structure)
            structure = _header_of(data, limits)
        self._data, self._scan = _scan_of(data, limits)
        self._structure = structure
        self._limits = limits
        self._kept: list[tuple[Rectangle, list[np.ndarray]]] = []
        self._smallest: tuple[int, list[np.ndarray]] | None = None
        if (self._scan.width, self._scan.height) != (structure.width, structure.height):
            raise CannotSplice(Fault.DAMAGED)
        self.orientation = jpeg_orientation(structure)
        turned = self.orientation >= 5
        self.width = structure.height if turned else structure.width
        self.height = structure.width if turned else structure.height

    def look(self, part: Rectangle, *, smallest_scale: float = 1.0, keep: bool = False) -> Look:
        """A part of the photo with what lies around it in the same MCUs, at the smallest of the scales 1/8 .. 8/8 that
        is no smaller than ``smallest_scale``. Raises CannotSplice where the part is off the photo.

        Args:
            keep: decode the part at full size and keep that, for what :meth:`added` moves there.
        """
        points = max(1, math.ceil(min(smallest_scale, 1.0) * _BLOCK))
        if keep:
            part = self._grown(part, _KEPT_MARGIN_PX)
        left, top, right, bottom = mcus = self._mcus(self._stored(part))
        if keep:
            kept = self._decoded(mcus)
            self._kept.append((mcus, kept))
            planes = [_reduced(plane, points) for plane in kept]
        elif mcus == self._whole():
            planes = self._small(points)
        else:
            planes = self._scan.decode(left=left, top=top, across=right - left, down=bottom - top, points=points)
        upright = self._upright(self._pixels_of(left, top, right, bottom))
        pixels = self._shown(planes, mcus, points=points)
        return Look(to_upright(pixels, self.orientation), upright[0], upright[1], points / _BLOCK)

    def _shown(self, planes: Sequence[np.ndarray], mcus: Rectangle, *, points: int) -> np.ndarray:
        """(h, w, 3) uint8 RGB as stored, of some MCUs' samples at ``points`` a block side."""
        scan = self._scan
        stored = self._pixels_of(*mcus)
        size = tuple(-(-length * points // _BLOCK) for length in (stored[2] - stored[0], stored[3] - stored[1]))
        shape = (planes[0].shape[1] * scan.mcu_width // (scan.factors[0][0] * _BLOCK),
                 planes[0].shape[0] * scan.mcu_height // (scan.factors[0][1] * _BLOCK))  # fmt: skip
        full = [plane if plane.shape[::-1] == shape else cv2.resize(plane, shape) for plane in planes]
        return self._to_rgb(full)[: size[1], : size[0]]

    def _whole(self) -> Rectangle:
        return 0, 0, self._scan.mcus_across, self._scan.mcus_down

    def _small(self, points: int) -> list[np.ndarray]:
        """The components' samples of the whole photo at ``points`` a block side; small ones are decoded once."""
        if self._smallest is None or self._smallest[0] != points:
            across, down = self._scan.mcus_across, self._scan.mcus_down
            planes = self._scan.decode(left=0, top=0, across=across, down=down, points=points)
            if points > _KEPT_POINTS:
                return planes
            self._smallest = points, planes
        return self._smallest[1]

    def thumbnail(self) -> Look:
        """The whole photo at 1/8, in gray (three equal channels), for the price of the entropy decoding alone.

        For `python -m benchmarks.finding`, which says why faces are not searched in it.
        """
        step = float(self._structure.tables[self._structure.components[0].table][0])
        luma = cv2.convertScaleAbs(self._scan.dc_luma().astype(np.float32) * (step / _BLOCK) + 128.0)
        shape = (self._scan.mcus_across * self._scan.mcu_width // _BLOCK,
                 self._scan.mcus_down * self._scan.mcu_height // _BLOCK)  # fmt: skip
        if (luma.shape[1], luma.shape[0]) != shape:
            luma = cv2.resize(luma, shape)
        luma = luma[: -(-self._scan.height // _BLOCK), : -(-self._scan.width // _BLOCK)]
        return Look(to_upright(np.repeat(luma[:, :, None], 3, axis=2), self.orientation), 0, 0, 1 / _BLOCK)

    def added(
        self,
        addends: Sequence[Addend],
        *,
        changes: Sequence[Change] | None = None,
        faces: Sequence[Rectangle] | None = None,
    ) -> Pieces | None:
        """The photo with all of them made, one after the other; None where that changes nothing. ``changes``: theirs,
        by :meth:`changes`, where they are at hand. ``faces``: where a gain map is to show nothing of the old picture;
        by default everywhere.

        Each displaces the components' samples, at their own sampling, by bicubic interpolation, and adds its levels.
        The quantized coefficients of the difference to what was there are added to the photo's: a block that does not
        change keeps its own, and nothing is clipped to 0..255 before it is coded. A decoder clips, and a change near
        black or white is kept where blending on pixels would lose it.
        """
        changes = self.changes(addends) if changes is None else changes
        replacements = self._scan.apply(changes) if changes else []
        if not replacements:
            return None
        if holds_letters(memoryview(self._data)[metadata_end(self._data) : self._scan.end]):
            # Decoders pass over what stands behind the last code: encoding anew leaves it out.
            raise CannotSplice(Fault.UNSUPPORTED)
        parts = [(0, 0, self.width, self.height)] if faces is None else faces
        return self._pieces(replacements, changes, [self._stored(part) for part in parts])

    def changes(self, addends: Sequence[Addend]) -> list[Change]:
        """What all of them change, for :meth:`added` and :meth:`kept`."""
        return [self._change(rectangle, addends) for rectangle in self._rectangles(addends)]

    def kept(self, addend: Addend, changes: Sequence[Change]) -> float:
        """Root mean square, in levels, of what is left of ``changes`` once they are quantized, where one of the addends
        is; all components together, each over its own samples."""
        bounds = addend.bounds(width=self.width, height=self.height)
        if bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
            return 0.0
        left, top, right, bottom = self._mcus(self._stored(bounds))
        # Rectangles that overlap were joined, so one holds all of it.
        change = next(c for c in changes if _overlap((left, top, right, bottom), _rectangle_of(c)))
        squares = 0.0
        parts = zip(change.planes, self._structure.components, self._scan.factors, strict=True)
        for (levels, channel), component, (across, down) in parts:
            rows = slice((top - change.top) * down * _BLOCK, (bottom - change.top) * down * _BLOCK)
            columns = slice((left - change.left) * across * _BLOCK, (right - change.left) * across * _BLOCK)
            table = np.array(self._structure.tables[component.table], np.float32).reshape(_BLOCK, _BLOCK)
            squares += kept_in_blocks(levels[rows, columns, channel], table) ** 2
        return math.sqrt(squares)

    def _rectangles(self, addends: Sequence[Addend]) -> list[Rectangle]:
        """The MCUs that the addends touch; those that overlap are joined."""
        joined: list[Rectangle] = []
        for addend in addends:
            bounds = addend.bounds(width=self.width, height=self.height)
            if bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
                continue
            new = self._mcus(self._stored(bounds))
            while True:
                others = [other for other in joined if _overlap(new, other)]
                if not others:
                    break
                joined = [other for other in joined if other not in others]
                new = _around([new, *others])
            joined.append(new)
        return joined

    def _change(self, mcus: Rectangle, addends: Sequence[Addend]) -> Change:
        bounds = self._upright(self._pixels_of(*mcus))
        here = [a for a in addends if _overlap(a.bounds(width=self.width, height=self.height), bounds)]
        # What is moved into the MCUs may come from those beside.
        wide = _around([mcus, *(seen for addend in here if (seen := self._seen_by(addend)) is not None)])
        shown = self._decoded(wide) if any(addend.overreach_px is not None for addend in here) else []
        planes: list[np.ndarray] = []
        for colors, step in self._channels():
            samples = shown[len(planes) : len(planes) + len(colors)]
            planes += self._levels(wide, mcus, here, colors=colors, step=step, samples=samples)
        left, top, right, bottom = mcus
        return Change(left, top, right - left, bottom - top, [(plane[:, :, None], 0) for plane in planes])

    def _seen_by(self, addend: Addend) -> Rectangle | None:
        """The MCUs that an addend moves something from; None where it moves nothing."""
        if addend.overreach_px is None:
            return None
        filtered = _FILTER_SAMPLES * max(self._scan.mcu_width, self._scan.mcu_height) // _BLOCK
        bounds = addend.bounds(width=self.width, height=self.height)
        return self._mcus(self._stored(self._grown(bounds, math.ceil(addend.overreach_px) + filtered)))

    def _grown(self, part: Rectangle, px: int) -> Rectangle:
        left, top, right, bottom = part
        return max(left - px, 0), max(top - px, 0), min(right + px, self.width), min(bottom + px, self.height)

    def _decoded(self, mcus: Rectangle) -> list[np.ndarray]:
        """The components' samples in some MCUs; where a look at them was kept, it is not decoded again."""
        left, top, right, bottom = mcus
        for kept, planes in self._kept:
            if kept[0] <= left and kept[1] <= top and right <= kept[2] and bottom <= kept[3]:
                parts = []
                for plane, (across, down) in zip(planes, self._scan.factors, strict=True):
                    rows = slice((top - kept[1]) * down * _BLOCK, (bottom - kept[1]) * down * _BLOCK)
                    columns = slice((left - kept[0]) * across * _BLOCK, (right - kept[0]) * across * _BLOCK)
                    parts.append(plane[rows, columns])
                return parts
        return self._scan.decode(left=left, top=top, across=right - left, down=bottom - top, points=_BLOCK)

    def _channels(self) -> list[tuple[np.ndarray, tuple[int, int]]]:
        """What the components take of R, G and B, and how many px each sample stands for; alike ones together."""
        factors = self._scan.factors
        colors = np.eye(3, dtype=np.float32) if self._structure.rgb else _RGB_TO_YCBCR
        widest, highest = max(across for across, _ in factors), max(down for _, down in factors)
        steps = [(widest // across, highest // down) for across, down in factors]
        together: list[tuple[np.ndarray, tuple[int, int]]] = []
        first = 0
        for index in range(1, len(steps) + 1):
            if index == len(steps) or steps[index] != steps[first]:
                together.append((colors[first:index], steps[first]))
                first = index
        return together

    def _levels(
        self,
        wide: Rectangle,
        mcus: Rectangle,
        addends: Sequence[Addend],
        *,
        colors: np.ndarray,
        step: tuple[int, int],
        samples: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        """By how much all of them change samples of ``step`` px in some MCUs: (rows, columns) float32 for each of the
        components, as stored.

        Args:
            wide: the MCUs that are looked at, no fewer.
            samples: of these, the components as they are; none where nothing moves.
        """
        seen, inner = self._whole_samples(wide, step), self._whole_samples(mcus, step)
        across, down = (seen[2] - seen[0]) // step[0], (seen[3] - seen[1]) // step[1]
        upright = [to_upright(plane[:down, :across], self.orientation).astype(np.float32) for plane in samples]
        region = ChangedRegion(
            seen=self._upright(seen),
            inner=self._upright(inner),
            step=step if self.orientation < 5 else (step[1], step[0]),
            components=len(colors),
            samples=upright,
        )
        for addend in addends:
            region.change(addend, colors)
        return [to_stored(plane, self.orientation) for plane in region.changes]

    def _whole_samples(self, mcus: Rectangle, step: tuple[int, int]) -> Rectangle:
        """The stored px of some MCUs, up to whole samples of ``step`` px, so that their grid is the same from whichever
        edge an orientation counts."""
        left, top, right, bottom = self._pixels_of(*mcus)
        across, down = -(-(right - left) // step[0]), -(-(bottom - top) // step[1])
        return left, top, left + across * step[0], top + down * step[1]

    def _pieces(self, replacements: list[Replacement], changes: Sequence[Change], faces: Sequence[Rectangle]) -> Pieces:
        """The file with parts replaced, metadata as :mod:`facecloak.photos.metadata` says, and behind the picture what
        :mod:`facecloak.photos.companions` keeps."""
        end = self._scan.end + _EOI_BYTES
        view = memoryview(self._data)
        report = Report()
        painter = ThumbnailPainter(lambda px: self._changed(changes, px), orientation=self.orientation)
        segments = self._structure.metadata
        beside = kept_companions(
            self._data[end:], segments, faces, size=(self._scan.width, self._scan.height),
            orientation=self.orientation, limits=self._limits, report=report,
        )  # fmt: skip
        cleaned = cleaned_segments(segments, painter, report, announced=beside.announced)
        edits = list(replacements)
        if cleaned != [segment.data for segment in segments]:
            # All of them where the first one was.
            contents = [b"".join(cleaned)] + [b""] * (len(segments) - 1)
            edits += [
                Replacement(segment.begin, segment.begin + len(segment.data), content)
                for segment, content in zip(segments, contents, strict=True)
            ]
        middle = metadata_end(self._data)
        head: list[bytes | memoryview] = []
        picture: list[bytes | memoryview] = []
        at = 0
        for edit in sorted(edits, key=lambda edit: edit.begin):
            if at < middle <= edit.begin:
                head.append(view[at:middle])
                at = middle
            part = picture if edit.begin >= middle else head
            part += [view[at : edit.begin], edit.content]
            at = edit.end
        picture += [view[at:end], *filter(None, [beside.data])]
        return Pieces(head=tuple(head), picture=tuple(picture), dropped=report.names)

    def _changed(self, changes: Sequence[Change], px: int) -> np.ndarray:
        """The whole changed photo as stored, its longer side at least ``px`` where it has as many: that much of it is
        decoded, where no look at it was, and changed anew. It differs from the file's by what quantization takes."""
        points = max(1, math.ceil(min(px / max(self.width, self.height), 1.0) * _BLOCK))
        if self._smallest is not None and points <= self._smallest[0]:
            points = self._smallest[0]
        planes = [plane.copy() for plane in self._small(points)]
        for change in changes:
            parts = zip(planes, change.planes, self._scan.factors, strict=True)
            for plane, (levels, channel), (across, down) in parts:
                rows, columns = change.down * down * points, change.across * across * points
                part = plane[change.top * down * points :, change.left * across * points :][:rows, :columns]
                # At the photo's edge a change ends before its last blocks do.
                height, width = -(-levels.shape[0] * points // _BLOCK), -(-levels.shape[1] * points // _BLOCK)
                part = part[:height, :width]
                small = levels[:, :, channel]
                if points != _BLOCK:
                    small = cv2.resize(small, part.shape[::-1], interpolation=cv2.INTER_AREA)
                part[:] = cv2.add(part, small, dtype=cv2.CV_8U)
        return self._shown(planes, self._whole(), points=points)

    def _stored(self, upright: Rectangle) -> Rectangle:
        return turned_rectangle(upright, inverse_of(self.orientation), width=self.width, height=self.height)

    def _upright(self, stored: Rectangle) -> Rectangle:
        return turned_rectangle(stored, self.orientation, width=self._scan.width, height=self._scan.height)

    def _mcus(self, stored: Rectangle) -> Rectangle:
        left, top, right, bottom = stored
        width, height = self._scan.mcu_width, self._scan.mcu_height
        return (
            max(left // width, 0), max(top // height, 0),
            min(-(-right // width), self._scan.mcus_across), min(-(-bottom // height), self._scan.mcus_down),
        )  # fmt: skip

    def _pixels_of(self, left: int, top: int, right: int, bottom: int) -> Rectangle:
        """The stored px that MCUs hold."""
        if left >= right or top >= bottom:
            raise CannotSplice(Fault.BAD_REGION)
        width, height = self._scan.mcu_width, self._scan.mcu_height
        return (
            left * width, top * height, min(right * width, self._scan.width), min(bottom * height, self._scan.height)
        )  # fmt: skip

    def _to_rgb(self, planes: list[np.ndarray]) -> np.ndarray:
        if len(planes) == 1:
            return np.repeat(planes[0][:, :, None], 3, axis=2)
        if self._structure.rgb:
            return cv2.merge(planes)
        # OpenCV wants Cr before Cb.
        return cv2.cvtColor(cv2.merge([planes[0], planes[2], planes[1]]), cv2.COLOR_YCrCb2RGB)


def _header_of(data: bytes, limits: PhotoLimits) -> JpegStructure:
    """The header; a fault in it is for decoding to name, but for the size."""
    limits.check_bytes(len(data))
    try:
        return read_structure(data, limits, header_only=True)
    except PhotoTooLarge:
        raise
    except PhotoRefused as error:
        raise CannotSplice(Fault.UNSUPPORTED) from error


def _reduced(plane: np.ndarray, points: int) -> np.ndarray:
    """Samples of blocks at ``points`` instead of 8 a side."""
    size = plane.shape[1] * points // _BLOCK, plane.shape[0] * points // _BLOCK
    return plane if points == _BLOCK else cv2.resize(plane, size, interpolation=cv2.INTER_AREA)


def _around(parts: Sequence[Rectangle]) -> Rectangle:
    lefts, tops, rights, bottoms = zip(*parts, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _scan_of(data: bytes, limits: PhotoLimits) -> tuple[bytes, NativeScan]:
    """A file's scan; of one that lacks no more than its end, with an end."""
    try:
        return data, NativeScan(data)
    except CannotSplice:
        try:
            structure = read_structure(data, limits)
        except PhotoRefused:
            structure = None
        if structure is None or structure.has_end:
            raise
    whole = mended(data, structure)
    scan = NativeScan(whole)
    scan.dc_luma()  # reads all codes, so it finds out whether some are missing
    return whole, scan


def _rectangle_of(change: Change) -> Rectangle:
    return change.left, change.top, change.left + change.across, change.top + change.down


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
