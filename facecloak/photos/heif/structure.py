"""What a HEIF file (ISO/IEC 23008-12) says about itself: its items, their sizes and properties; nothing is decoded.

HEIC holds HEVC (annex B there), AVIF holds AV1 (AOM's AVIF specification).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from facecloak.photos.errors import AnimatedPhoto, PhotoDamaged, PhotoTruncated, UnsupportedPhoto
from facecloak.photos.heif.boxes import IsoBox, Reader, boxes_in, top_level
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.photo import PhotoFormat

_SEQUENCE_BRANDS = frozenset((b"avis", b"hevc", b"hevx", b"hevm", b"hevs"))
_CODED = {b"hvc1": PhotoFormat.HEIC, b"av01": PhotoFormat.AVIF}
_DERIVED = (b"grid", b"iden", b"iovl")
_MOST_ITEMS = 1000
_MOST_PROPERTIES_OF_AN_ITEM = 64
_MOST_EXTENTS = 10_000
# Tiles reach over the photo's edge by less than one of them.
_TILES_MARGIN = 2


@dataclass
class Item:
    """One item: a coded or derived picture, or metadata.

    Attributes:
        content_type: of a ``mime`` item.
        extents: (offset in the file, bytes) of each part.
        properties: (kind, content) in the order in which they apply.
    """

    number: int
    kind: bytes = b""
    content_type: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)

    def value_of(self, kind: bytes) -> bytes | None:
        """The first one of a kind."""
        return next((content for own, content in self.properties if own == kind), None)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px, as ``ispe`` states them; zeros where nothing does."""
        content = self.value_of(b"ispe") or b""
        return int.from_bytes(content[4:8], "big"), int.from_bytes(content[8:12], "big")


@dataclass
class HeifStructure:
    """A file's structure.

    Attributes:
        references: (kind, from item, to items).
        boxes: the file's own boxes; what follows them, from ``end`` on, is no box.
    """

    items: dict[int, Item] = field(default_factory=dict)
    references: list[tuple[bytes, int, tuple[int, ...]]] = field(default_factory=list)
    primary_number: int = 0
    boxes: list[IsoBox] = field(default_factory=list)
    end: int = 0
    data: bytes = b""

    @property
    def primary(self) -> Item:
        return self.items[self.primary_number]

    @property
    def parts(self) -> list[Item]:
        """The coded items that make the primary picture, one or its tiles."""
        return self._coded_of(self.primary_number, depth=0)

    @property
    def format(self) -> PhotoFormat:
        return _CODED[self.parts[0].kind]

    @property
    def width(self) -> int:
        """Stored px, before it is turned."""
        return self.primary.size[0]

    @property
    def height(self) -> int:
        return self.primary.size[1]

    @property
    def shown(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the stored samples that the picture shows: all but for ``clap``, by which
        encoders cut what they added to a side of an odd length.

        Raises:
            UnsupportedPhoto: not whole pixels, or no part of them, or cut after it is turned.
        """
        cuts = [content for kind, content in self.primary.properties if kind == b"clap"]
        if not cuts:
            return 0, 0, self.width, self.height
        kinds = [kind for kind, _ in self.primary.properties]
        if len(cuts) > 1 or any(kind in (b"irot", b"imir") for kind in kinds[: kinds.index(b"clap")]):
            raise UnsupportedPhoto(f"The {self.format} is cut after it is turned, which is not taken.")
        left, right = _span(cuts[0][:8], cuts[0][16:24], self.width)
        top, bottom = _span(cuts[0][8:16], cuts[0][24:32], self.height)
        return left, top, right, bottom

    @property
    def orientation(self) -> int:
        """EXIF's 1..8 for how ``irot`` and ``imir`` turn the picture, in the order in which they stand there."""
        orientation = 1
        for kind, content in self.primary.properties:
            if kind == b"irot" and content:
                # Anti-clockwise quarter turns: 6 is a clockwise one.
                for _ in range(content[0] & 3):
                    orientation = _AFTER_TURN[orientation]
            elif kind == b"imir" and content:
                orientation = _AFTER_MIRROR[content[0] & 1][orientation]
        return orientation

    @property
    def bits(self) -> int:
        """Bits a sample."""
        content = self.primary.value_of(b"pixi") or self.parts[0].value_of(b"pixi") or b""
        if len(content) > 5:
            return max(content[5:])
        for item in self.parts:
            if (hevc := item.value_of(b"hvcC")) is not None and len(hevc) > 17:
                return 8 + (hevc[17] & 7)
            if (av1 := item.value_of(b"av1C")) is not None and len(av1) > 2:
                return 12 if av1[2] & 0x20 else 10 if av1[2] & 0x40 else 8
        return 8

    @property
    def picture_bytes(self) -> int:
        """Coded bytes of the primary picture."""
        return sum(size for item in self.parts for _, size in item.extents)

    def to_primary(self, kind: bytes) -> list[Item]:
        """Items that refer to the primary one, such as its thumbnails, metadata and auxiliary pictures."""
        return [
            self.items[origin]
            for own, origin, targets in self.references
            if own == kind and self.primary_number in targets and origin in self.items
        ]

    def content(self, item: Item) -> bytes:
        """An item's bytes."""
        return b"".join(self.data[offset : offset + size] for offset, size in item.extents)

    def _coded_of(self, number: int, *, depth: int) -> list[Item]:
        item = self.items.get(number)
        if item is None:
            raise PhotoDamaged("The photo's item is missing.", item=number)
        if item.kind in _CODED:
            return [item]
        if item.kind not in _DERIVED or depth > 2:
            raise UnsupportedPhoto(f"The HEIF file's picture is of a kind that is not taken: {_text(item.kind)}.")
        targets = [
            t for kind, origin, targets in self.references if kind == b"dimg" and origin == number for t in targets
        ]
        if not 1 <= len(targets) <= _MOST_ITEMS:
            raise PhotoDamaged("The photo's tiles are missing.")
        return [part for target in targets for part in self._coded_of(target, depth=depth + 1)]


def _span(length: bytes, offset: bytes, stored: int) -> tuple[int, int]:
    """Where ``clap`` begins and ends along a side of ``stored`` px (ISO/IEC 14496-12, 12.1.4): its length, and how far
    its middle lies from the side's, two 32-bit numbers each, numerator and denominator."""
    if len(offset) < 8:
        raise PhotoDamaged("The photo's cut is cut short.")
    above, below = (int.from_bytes(length[at : at + 4], "big") for at in (0, 4))
    far_above = int.from_bytes(offset[:4], "big", signed=True)
    far_below = int.from_bytes(offset[4:], "big")
    if below and far_below and above % below == 0:
        cut = above // below
        begin = Fraction(far_above, far_below) + Fraction(stored - cut, 2)
        if begin.denominator == 1 and begin >= 0 and cut > 0 and begin + cut <= stored:
            return int(begin), int(begin) + cut
    raise UnsupportedPhoto("The photo is cut between pixels or beyond its edge (clap), which is not taken.")


# What one more anti-clockwise quarter turn, and mirroring about a vertical (1) or horizontal (0) line, make of what is
# seen upright already.
_AFTER_TURN = {1: 8, 2: 5, 3: 6, 4: 7, 5: 4, 6: 1, 7: 2, 8: 3}
_AFTER_MIRROR = {
    0: {1: 4, 2: 3, 3: 2, 4: 1, 5: 8, 6: 7, 7: 6, 8: 5},
    1: {1: 2, 2: 1, 3: 4, 4: 3, 5: 6, 6: 5, 7: 8, 8: 7},
}


def read_heif(data: bytes, limits: PhotoLimits) -> HeifStructure:
    """Read a file's structure; its sizes are checked. Raises the refusals of :func:`facecloak.photos.decode_photo`."""
    found = HeifStructure(data=data)
    found.boxes, found.end = top_level(data, limits)
    kinds = [box.kind for box in found.boxes]
    if b"meta" not in kinds:
        if b"moov" in kinds:
            raise UnsupportedPhoto("The file is a video; photos are taken.", format="video")
        raise PhotoTruncated("The file ends before its picture does.")
    if b"moov" in kinds or _SEQUENCE_BRANDS & {data[8:12]}:
        raise AnimatedPhoto("The file is a sequence of pictures (HEIF or AVIF); stills are taken.")
    _read_meta(found, next(box for box in found.boxes if box.kind == b"meta"), limits)
    _check(found, limits)
    return found


def _check(found: HeifStructure, limits: PhotoLimits) -> None:
    if found.primary_number not in found.items:
        raise PhotoDamaged("The file does not say which picture is the photo.")
    parts = found.parts
    if {part.kind for part in parts} != {parts[0].kind}:
        raise UnsupportedPhoto("The photo's tiles are coded in different ways.")
    if not found.width or not found.height:
        raise PhotoDamaged("The file does not state the photo's size.")
    limits.check_size(found.width, found.height)
    pixels = 0
    for part in parts:
        width, height = part.size
        limits.check_size(width, height)
        pixels += width * height
    if pixels > _TILES_MARGIN * found.width * found.height + 4096 * 4096:
        raise PhotoDamaged("The photo's tiles are far larger than the photo.")
    if any(offset + size > len(found.data) for part in parts for offset, size in part.extents):
        raise PhotoTruncated("The file ends before its picture does.")
    if not found.picture_bytes:
        raise PhotoDamaged("The file holds no picture.")


def _read_meta(found: HeifStructure, meta: IsoBox, limits: PhotoLimits) -> None:
    data = found.data
    inner = {box.kind: box for box in boxes_in(data, meta.inside + 4, meta.end, limits)}
    idat = inner.get(b"idat")
    for kind, read in ((b"pitm", _read_primary), (b"iinf", _read_items), (b"iref", _read_references)):
        if kind in inner:
            read(found, inner[kind], limits)
    if b"iloc" in inner:
        _read_places(found, inner[b"iloc"], idat.inside if idat is not None else 0)
    if b"iprp" in inner:
        _read_properties(found, inner[b"iprp"], limits)


def _opened(found: HeifStructure, box: IsoBox) -> tuple[Reader, int]:
    reader = Reader(found.data, box.inside, box.end)
    version = reader.number(1)
    reader.number(3)
    return reader, version


def _read_primary(found: HeifStructure, box: IsoBox, limits: PhotoLimits) -> None:
    reader, version = _opened(found, box)
    found.primary_number = reader.number(4 if version else 2)


def _read_items(found: HeifStructure, box: IsoBox, limits: PhotoLimits) -> None:
    reader, version = _opened(found, box)
    reader.number(4 if version else 2)
    for entry in boxes_in(found.data, reader.at, box.end, limits):
        if entry.kind != b"infe":
            continue
        inside, version = _opened(found, entry)
        if version < 2:
            continue
        number = inside.number(2 if version == 2 else 4)
        inside.number(2)
        kind = inside.take(4)
        inside.string()
        if len(found.items) >= _MOST_ITEMS:
            raise PhotoDamaged("The file has too many items.")
        content_type = inside.string() if kind in (b"mime", b"uri ") else b""
        found.items[number] = Item(number, kind, content_type)


def _read_references(found: HeifStructure, box: IsoBox, limits: PhotoLimits) -> None:
    reader, version = _opened(found, box)
    size = 4 if version else 2
    for entry in boxes_in(found.data, reader.at, box.end, limits):
        inside = Reader(found.data, entry.inside, entry.end)
        origin = inside.number(size)
        targets = tuple(inside.number(size) for _ in range(min(inside.number(2), _MOST_ITEMS + 1)))
        found.references.append((entry.kind, origin, targets))


def _read_places(found: HeifStructure, box: IsoBox, idat: int) -> None:
    reader, version = _opened(found, box)
    sizes = reader.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version in (1, 2) else 0
    left = _MOST_EXTENTS
    for _ in range(reader.number(4 if version == 2 else 2)):
        number = reader.number(4 if version == 2 else 2)
        method = reader.number(2) & 15 if version in (1, 2) else 0
        reader.number(2)
        base = reader.number(base_size) + (idat if method == 1 else 0)
        count = reader.number(2)
        left -= count
        if left < 0:
            raise PhotoDamaged("The file's items are in too many parts.")
        extents: list[tuple[int, int]] = []
        for _ in range(count):
            reader.number(index_size)
            offset = base + reader.number(offset_size)
            extents.append((offset, reader.number(length_size)))
        # An item made of other items' bytes (method 2) is none of the pictures that are taken.
        if number in found.items and method in (0, 1):
            found.items[number].extents = extents


def _read_properties(found: HeifStructure, box: IsoBox, limits: PhotoLimits) -> None:
    data = found.data
    inner = list(boxes_in(data, box.inside, box.end, limits))
    container = next((entry for entry in inner if entry.kind == b"ipco"), None)
    if container is None:
        return
    properties = [
        (entry.kind, entry.content(data)) for entry in boxes_in(data, container.inside, container.end, limits)
    ]
    for association in (entry for entry in inner if entry.kind == b"ipma"):
        reader = Reader(data, association.inside, association.end)
        version, flags = reader.number(1), reader.number(3)
        for _ in range(reader.number(4)):
            item = found.items.get(reader.number(4 if version else 2))
            for _ in range(reader.number(1)):
                index = reader.number(2) & 0x7FFF if flags & 1 else reader.number(1) & 0x7F
                if item is not None and 1 <= index <= len(properties):
                    if len(item.properties) >= _MOST_PROPERTIES_OF_AN_ITEM:
                        raise PhotoDamaged("An item has too many properties.")
                    item.properties.append(properties[index - 1])


def _text(kind: bytes) -> str:
    return kind.decode("ascii", "replace")
