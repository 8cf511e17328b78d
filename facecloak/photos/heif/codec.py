"""HEIC and AVIF in, and the same out: the picture is coded anew, and the file around it put together anew.

Kept as they came: orientation (``irot``, ``imir``), ICC profile and color description (``colr``), light levels, pixel
shape, EXIF and XMP as :mod:`facecloak.photos.metadata` cleans them, alpha, the picture's format, sampling, and in HEIC
more than 8 bits a sample. The quality is estimated by the file's size.

Dropped, and named: thumbnails, depth and other auxiliary pictures, gain maps, further pictures, a video behind the
photo, and boxes of no known kind: all of them show who is on the photo, or are about the bytes of the old one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from facecloak.photos.errors import PhotoDamaged, UnsupportedPhoto
from facecloak.photos.heif import coding
from facecloak.photos.heif.boxes import box
from facecloak.photos.heif.structure import HeifStructure, Item, read_heif
from facecloak.photos.heif.writer import NewItem, written
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.metadata.embedded import holds_picture
from facecloak.photos.metadata.exif import cleaned_exif
from facecloak.photos.metadata.jpeg_segments import report_trailer
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.report import Report
from facecloak.photos.metadata.xmp import cleaned_xmp
from facecloak.photos.photo import Decoded, Encoded, PhotoFormat, Rectangle

_XMP_TYPE = b"application/rdf+xml"
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_GAIN_MAPS = (b"gainmap", b"gain_map")
# What says how samples are shown: a mask does not change it.
_STILL_TRUE = frozenset((b"pasp", b"clli", b"mdcv", b"amve", b"ndwt", b"cclv"))
_TURNS = (b"irot", b"imir")
# A reader that does not know these cannot show the picture.
_NEEDED = (b"hvcC", b"av1C", b"clap")
_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_OWN_BOXES = frozenset((b"ftyp", b"meta", b"mdat", b"free", b"skip"))
TAG_UUID = bytes.fromhex("66616365636c6f616b2d7461672d3031")
"""Of the box in which a cloaked photo's tag lies."""


@dataclass(frozen=True, eq=False)
class HeifEncoding:
    """How a HEIC or AVIF was encoded.

    Attributes:
        structure: the original's.
        stored_u16: (H, W, 3 or 4) uint16 where it has more than 8 bits and these are kept.
        alpha: (H, W) uint8, or None.
        lost: names of what cannot be written again.
    """

    structure: HeifStructure = field(repr=False)
    stored_u16: np.ndarray | None
    alpha: np.ndarray | None
    lost: tuple[str, ...] = ()

    @property
    def format(self) -> PhotoFormat:
        return self.structure.format

    @property
    def orientation(self) -> int:
        """EXIF's 1..8, as ``irot`` and ``imir`` say it."""
        return self.structure.orientation

    def encode(self, stored: np.ndarray, *, faces: Sequence[Rectangle]) -> Encoded:
        """See :class:`facecloak.photos.photo.Encoding`."""
        report = Report()
        for name in (*self.lost, *_others(self.structure)):
            report.dropped(name)
        samples = stored if self.alpha is None else np.dstack([stored, self.alpha])
        coded = read_heif(coding.encode(samples, self.structure), PhotoLimits(max_pixels=2**31, max_side=65_535))
        painter = ThumbnailPainter(lambda _: _shown(stored), orientation=self.orientation)
        items = _pictures(coded, self.structure, report)
        items += _metadata(self.structure, painter, report)
        report_trailer(self.structure.data[self.structure.end :], report)
        ftyp = coded.boxes[0]
        return Encoded(written(items, head=coded.data[ftyp.begin : ftyp.end]), report.names)


def decode(data: bytes, limits: PhotoLimits) -> Decoded:
    """Decode a HEIC or AVIF; raises the refusals of :func:`facecloak.photos.decode_photo`."""
    structure = read_heif(data, limits)
    if structure.format not in limits.formats:
        setting = str(structure.format)
        raise UnsupportedPhoto(
            f"The photo is {structure.format} (HEIF), which this service is not set to take; its operator can "
            f"(FACECLOAK_APPLY_{setting}, FACECLOAK_ENROLL_INTAKE__{setting}). Or send it as a JPEG.",
            format=structure.format,
        )
    left, top, right, bottom = structure.shown
    samples = coding.decode(structure)
    if samples.shape[:2] != (bottom - top, right - left):
        raise PhotoDamaged("The photo's size is not what its header states.")
    deep = samples.dtype == np.uint16
    has_alpha = samples.shape[2] == 4
    lost = ("bit_depth",) if structure.bits > 8 and not deep else ()
    return Decoded(
        stored_srgb_u8=_shown(samples[:, :, :3]),
        orientation=structure.orientation,
        encoding=HeifEncoding(
            structure=structure,
            stored_u16=samples if deep else None,
            alpha=np.ascontiguousarray(samples[:, :, 3]) if has_alpha and not deep else None,
            lost=lost,
        ),
    )


def _shown(samples: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB of 8 or 16 bits."""
    if samples.dtype == np.uint8:
        return np.ascontiguousarray(samples[:, :, :3])
    return np.ascontiguousarray(samples[:, :, :3] >> 8).astype(np.uint8)


def _pictures(coded: HeifStructure, original: HeifStructure, report: Report) -> list[NewItem]:
    """The photo, just coded, with the original's own properties, and its alpha."""
    photo = coded.primary
    alpha = next((item for item in coded.to_primary(b"auxl") if _is_alpha(item)), None)
    turns = [(kind, content, True) for kind, content in original.primary.properties if kind in _TURNS]
    properties = [(kind, content, kind in _NEEDED) for kind, content in photo.properties]
    properties = [entry for entry in properties if entry[0] not in (b"colr", *_TURNS)]
    properties += [(b"colr", content, False) for content in _colors(photo, original.primary, report)]
    properties += [(kind, content, False) for kind, content in original.primary.properties if kind in _STILL_TRUE]
    items = [NewItem(photo.kind, coded.content(photo), properties=[*properties, *turns])]
    if alpha is not None:
        of_alpha = [(k, c, k in _NEEDED) for k, c in alpha.properties if k not in _TURNS]
        items.append(NewItem(alpha.kind, coded.content(alpha), hidden=True, properties=[*of_alpha, *turns]))
        items[1].references.append((b"auxl", [0]))
        if any(kind == b"prem" and origin == original.primary_number for kind, origin, _ in original.references):
            items[0].references.append((b"prem", [1]))
    return items


def _colors(coded: Item, original: Item, report: Report) -> list[bytes]:
    """The original's profile as it is, and its color description with the matrix that the new picture is coded by."""
    own = [content for kind, content in original.properties if kind == b"colr"]
    profiles = [content for content in own if content[:4] in (b"prof", b"rICC") and not holds_picture(content)]
    if any(content[:4] in (b"prof", b"rICC") and content not in profiles for content in own):
        report.dropped("icc")
    described = next((content for content in own if content[:4] == b"nclx" and len(content) >= 11), None)
    new = next((c for k, c in coded.properties if k == b"colr" and c[:4] == b"nclx" and len(c) >= 11), None)
    if new is None:
        return profiles + ([described] if described is not None else [])
    if described is not None:
        new = described[:8] + new[8:]
    elif profiles:
        new = new[:4] + struct.pack(">HH", 2, 2) + new[8:]  # unspecified: the profile says it
    return [*profiles, new]


def _metadata(structure: HeifStructure, painter: ThumbnailPainter, report: Report) -> list[NewItem]:
    items: list[NewItem] = []
    for item in structure.to_primary(b"cdsc"):
        content = structure.content(item)
        if item.kind == b"Exif" and len(content) > 4:
            # Where the TIFF header begins, counted from behind that number (HEIF, annex A.2.1).
            begin = min(4 + int.from_bytes(content[:4], "big"), len(content))
            cleaned = content[:begin] + cleaned_exif(content[begin:], painter, report)
            items.append(NewItem(b"Exif", cleaned, references=[(b"cdsc", [0])]))
        elif item.kind == b"mime" and item.content_type == _XMP_TYPE:
            packet = cleaned_xmp(content, report).packet
            if packet is not None:
                items.append(NewItem(b"mime", packet, _XMP_TYPE, references=[(b"cdsc", [0])]))
        else:
            report.dropped("heif.metadata")
    return items


def _is_alpha(item: Item) -> bool:
    return (item.value_of(b"auxC") or b"")[4:].split(b"\0")[0] in _ALPHA


def _others(structure: HeifStructure) -> list[str]:
    """Names of the pictures and boxes that are not written again."""
    names: dict[str, None] = {}
    own = {structure.primary_number} | {item.number for item in structure.parts}
    own |= {item.number for item in structure.to_primary(b"cdsc")}
    for item in structure.to_primary(b"thmb"):
        names["heif.thumbnail"] = None
        own |= _with_tiles(structure, item.number)
    for item in structure.to_primary(b"auxl"):
        kind = (item.value_of(b"auxC") or b"")[4:].split(b"\0")[0].lower()
        own |= _with_tiles(structure, item.number)
        if _is_alpha(item):
            continue
        gain = any(word in kind for word in _GAIN_MAPS)
        names["heif.gain_map" if gain else "heif.depth" if b"depth" in kind or b"disparity" in kind
              else "heif.auxiliary"] = None  # fmt: skip
    for item in structure.items.values():
        if item.number not in own:
            names["heif.gain_map" if item.kind == b"tmap" else
                  "heif.metadata" if item.kind in (b"Exif", b"mime", b"uri ") else "heif.pictures"] = None  # fmt: skip
    for entry in structure.boxes:
        if entry.kind == b"mpvd":
            names["trailer.video"] = None
        elif entry.kind == b"uuid" and structure.data[entry.inside - 16 : entry.inside] == _C2PA_UUID:
            names["c2pa"] = None
        elif entry.kind not in _OWN_BOXES:
            names["heif.boxes"] = None
    return list(names)


def _with_tiles(structure: HeifStructure, number: int) -> set[int]:
    """An item and those that it is derived from."""
    found = {number}
    for kind, origin, targets in structure.references:
        if kind == b"dimg" and origin == number:
            found.update(targets)
    return found


def tag_box(payload: bytes) -> bytes:
    """A box that readers pass over."""
    return box(b"uuid", TAG_UUID, payload)
