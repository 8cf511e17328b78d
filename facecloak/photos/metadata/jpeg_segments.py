"""A JPEG's APPn and COM segments, each by its kind; those of no known kind go where they hold a picture, or
more than can be looked into.

Which identifiers there are: ExifTool's documentation of JPEG tags; JFIF 1.02; CIPA DC-007 (MPF); ISO 21496-1 (gain
maps); ISO 19566-5 (JUMBF) and the C2PA specification; Adobe's XMP specification, part 3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from facecloak.photos.jpeg_structure import APP0, APP1, APP2, COM, Segment
from facecloak.photos.metadata.announced import NOTHING, Announced
from facecloak.photos.metadata.embedded import holds_picture
from facecloak.photos.metadata.exif import cleaned_exif, holds_pictures
from facecloak.photos.metadata.opaque import comment_may_hide_picture, is_opaque, may_hide_picture
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.photoshop import cleaned_resources
from facecloak.photos.metadata.report import Report
from facecloak.photos.metadata.xmp import cleaned_xmp
from facecloak.photos.multi_picture import segment_for

APP4, APP8, APP9, APP10, APP11, APP13, APP14 = 0xE4, 0xE8, 0xE9, 0xEA, 0xEB, 0xED, 0xEE
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_JFIF = b"JFIF\0"
_PROFILE = b"ICC_PROFILE\0"
_PROFILE_HEAD = len(_PROFILE) + 2
# Kept, but for a picture in them: colors, and the marker of how the picture's own components are coded.
_KEPT = ((APP2, _PROFILE), (APP14, b"Adobe"))
# Always dropped: pictures by themselves, or what is about other pictures, the file's length or the picture's bytes.
_DROPPED = (
    (APP0, b"JFXX\0", "jfxx.thumbnail"),
    (APP1, b"FLIR\0", "thermal"),
    (APP1, b"PARROT\0", "thermal"),
    (APP2, b"MPF\0", "mpf"),
    (APP2, b"urn:iso:std:iso:ts:21496:-1\0", "iso21496"),
    (APP4, b"SCALADO\0", "scalado"),  # where which blocks begin
    (APP8, b"SEAL\0", "seal"),  # a signature over the file
    (APP9, b"SEAL\0", "seal"),
    (APP10, b"AROT\0", "arot"),  # the curve of a gain map
    (APP11, b"HDR_RI", "jpeg_hdr"),  # another exposure of the same picture
)
# They say how a gain map is to be used.
_OF_GAIN_MAPS = frozenset(("iso21496", "arot"))
_MAX_PAYLOAD = 65_533
_ADOBE_BYTES = 12
_EXTENSION_HEAD = 32 + 4 + 4
_JUMBF_HEAD = 8
_C2PA = bytes.fromhex("63327061 0011 0010 8000 00AA00389B71")
_IDENTIFIER = re.compile(rb"[!-~][ -~]{0,63}\0")

_TRAILERS = (
    (re.compile(rb"\x00\x00[\x00\x01].ftyp", re.DOTALL), "trailer.video"),
    (re.compile(rb"SEF[HT]"), "trailer.samsung"),
    (re.compile(rb"\xff\xd8\xff"), "trailer.pictures"),
)


def cleaned_segments(
    segments: Sequence[Segment], painter: ThumbnailPainter, report: Report, *, announced: Announced = NOTHING
) -> list[bytes]:
    """The segments to write instead, in their order; see :mod:`facecloak.photos.metadata`. ``announced``: what stands
    behind the picture."""
    gone = _extended_xmp(segments, report, announced)
    boxes = _jumbf_names(segments)
    kept: list[bytes] = []
    profile = b"".join(segment.payload[_PROFILE_HEAD:] for segment in segments if _is_profile(segment))
    false_profile = holds_picture(profile)
    unknown = {id(segments[index]) for index in _unknown_with_pictures(segments)}
    for kind, run in groupby(segments, key=_kind):
        group = list(run)
        if kind == "exif":
            kept += _exif(group, painter, report)
        elif kind == "photoshop":
            kept += _photoshop(group, painter, report)
        elif kind == "xmp":
            for segment in group:
                kept += _xmp(segment, gone.digests, report, announced)
        elif kind == "extension":
            for segment in group:
                kept += gone.replaced(segment)
        elif kind == "jfif":
            kept += [_jfif(segment, report) for segment in group]
        elif kind == "jumbf":
            kept += _jumbf(group, boxes, report)
        elif kind == "mpf" and announced.indexed:
            kept.append(segment_for(1))
        elif kind in _OF_GAIN_MAPS and announced.has_gain_map:
            kept += [segment.data for segment in group]
        elif kind == "kept":
            if false_profile and any(map(_is_profile, group)):
                report.dropped("icc")
            kept += [_kept(segment, report) for segment in group if not (false_profile and _is_profile(segment))]
        elif kind:
            report.dropped(kind)
        else:
            for segment in group:
                if id(segment) in unknown:
                    report.dropped(_name(segment.marker))
                else:
                    kept.append(segment.data)
    return kept


def report_trailer(trailer: bytes | memoryview, report: Report) -> None:
    """Names what stood behind the picture: further pictures, a video, a maker's data, or something else."""
    if not trailer:
        return
    found = [name for pattern, name in _TRAILERS if pattern.search(trailer)]
    for name in found or ["trailer"]:
        report.dropped(name)


def _kind(segment: Segment) -> str:
    """How a segment is treated; the name under which it is dropped; empty for one of no known kind."""
    marker, payload = segment.marker, segment.payload
    if any(marker == known and payload.startswith(identifier) for known, identifier in _KEPT):
        return "kept"
    for known, identifier, name in _DROPPED:
        if marker == known and payload.startswith(identifier):
            return name
    if marker == APP1:
        for identifier, name in ((_EXIF, "exif"), (_XMP, "xmp"), (_EXTENSION, "extension")):
            if payload.startswith(identifier):
                return name
    if marker == APP0 and payload.startswith(_JFIF):
        return "jfif"
    if marker == APP11 and payload.startswith(b"JP"):
        return "jumbf"
    if marker == APP13 and payload.startswith(_PHOTOSHOP):
        return "photoshop"
    return ""


def _is_profile(segment: Segment) -> bool:
    return segment.marker == APP2 and segment.payload.startswith(_PROFILE)


def _kept(segment: Segment, report: Report) -> bytes:
    """Decoders read 12 bytes of Adobe's marker; a picture may stand behind them."""
    behind = segment.payload[_ADOBE_BYTES:]
    if segment.marker != APP14 or not (holds_picture(segment.payload) or is_opaque(behind)):
        return segment.data
    report.dropped(_name(APP14))
    return _segment(APP14, segment.payload[:_ADOBE_BYTES])


def _name(marker: int) -> str:
    return "com" if marker == COM else f"app{marker - APP0}"


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + (2 + len(payload)).to_bytes(2, "big") + payload


def _jfif(segment: Segment, report: Report) -> bytes:
    """JFIF's own thumbnail is RGB samples behind its 14 bytes."""
    if len(segment.payload) <= 14:
        return segment.data
    report.dropped("jfif.thumbnail")
    return _segment(APP0, segment.payload[:12] + b"\0\0")


def _exif(group: list[Segment], painter: ThumbnailPainter, report: Report) -> list[bytes]:
    """A block may go on in segments that begin like the first, but with no TIFF header (as ExifTool writes them)."""
    out: list[bytes] = []
    blocks: list[list[bytes]] = []
    for segment in group:
        part = segment.payload[len(_EXIF) :]
        if blocks and part[:4] not in (b"II*\0", b"MM\0*"):
            blocks[-1].append(part)
        else:
            blocks.append([part])
    for parts in blocks:
        cleaned = cleaned_exif(b"".join(parts), painter, report)
        at = 0
        for part in parts:
            out.append(_segment(APP1, _EXIF + cleaned[at : at + len(part)]))
            at += len(part)
    return out


def _photoshop(group: list[Segment], painter: ThumbnailPainter, report: Report) -> list[bytes]:
    block = b"".join(segment.payload[len(_PHOTOSHOP) :] for segment in group)
    cleaned = cleaned_resources(block, lambda tiff: cleaned_exif(tiff, painter, report), report)
    if cleaned is block or cleaned == block:
        return [segment.data for segment in group]
    room = _MAX_PAYLOAD - len(_PHOTOSHOP)
    return [_segment(APP13, _PHOTOSHOP + cleaned[at : at + room]) for at in range(0, len(cleaned), room)]


def _xmp(segment: Segment, digests: dict[str, str | None], report: Report, announced: Announced) -> list[bytes]:
    old = segment.payload[len(_XMP) :]
    new = cleaned_xmp(old, report, extension=digests, announced=announced).packet
    if new is None:
        return []
    if new is old:
        return [segment.data]
    return [_segment(APP1, _XMP + new)]


class _Extensions:
    """Extended XMP packets, each in as many segments as it needs.

    Attributes:
        digests: old digest -> the new one, or None where the packet is gone.
    """

    def __init__(self) -> None:
        self.digests: dict[str, str | None] = {}
        self._new: dict[str, list[bytes]] = {}

    def replace(self, digest: str, packet: bytes | None) -> None:
        """``packet`` None drops it."""
        if packet is None:
            self.digests[digest], self._new[digest] = None, []
            return
        new = hashlib.md5(packet, usedforsecurity=False).hexdigest().upper()
        room = _MAX_PAYLOAD - len(_EXTENSION) - _EXTENSION_HEAD
        self.digests[digest] = new
        self._new[digest] = [
            _segment(
                APP1,
                b"".join([
                    _EXTENSION, new.encode(), len(packet).to_bytes(4, "big"), at.to_bytes(4, "big"),
                    packet[at : at + room],
                ]),
            )
            for at in range(0, len(packet), room)
        ]  # fmt: skip

    def replaced(self, segment: Segment) -> list[bytes]:
        """What stands in a segment's place: all of the new packet in that of its first one."""
        digest = _extension_digest(segment)
        if digest not in self._new:
            return [segment.data]
        new, self._new[digest] = self._new[digest], []
        return new


def _extended_xmp(segments: Sequence[Segment], report: Report, announced: Announced) -> _Extensions:
    extensions = _Extensions()
    parts: dict[str, list[tuple[int, int, bytes]]] = {}
    for segment in segments:
        if _kind(segment) == "extension":
            head = segment.payload[len(_EXTENSION) :]
            size, offset = int.from_bytes(head[32:36], "big"), int.from_bytes(head[36:40], "big")
            parts.setdefault(_extension_digest(segment), []).append((offset, size, head[_EXTENSION_HEAD:]))
    for digest, pieces in parts.items():
        pieces.sort(key=lambda piece: piece[0])
        packet = b"".join(piece for _, _, piece in pieces)
        ends = [0]
        for _, _, piece in pieces:
            ends.append(ends[-1] + len(piece))
        if [offset for offset, _, _ in pieces] != ends[:-1] or {size for _, size, _ in pieces} != {ends[-1]}:
            # Readers pass over a packet that is not whole.
            report.dropped("xmp.extended")
            extensions.replace(digest, None)
            continue
        cleaned = cleaned_xmp(packet, report, announced=announced)
        if cleaned.packet is not packet:
            extensions.replace(digest, cleaned.packet if cleaned.properties else None)
    return extensions


def _extension_digest(segment: Segment) -> str:
    return segment.payload[len(_EXTENSION) :][:32].decode("latin-1")


def _jumbf_names(segments: Sequence[Segment]) -> dict[bytes, str | None]:
    """Box instance -> the name under which it goes, None where it stays. A box is in one or more segments, between
    which others may stand (ISO 19566-5, D.2)."""
    boxes: dict[bytes, list[bytes]] = {}
    for segment in segments:
        if _kind(segment) == "jumbf":
            boxes.setdefault(segment.payload[2:4], []).append(segment.payload)
    return {instance: _jumbf_name(parts) for instance, parts in boxes.items()}


def _jumbf(group: list[Segment], names: dict[bytes, str | None], report: Report) -> list[bytes]:
    """C2PA's boxes go, and JPEG XT's, which refine the old picture."""
    kept: list[bytes] = []
    for segment in group:
        name = names[segment.payload[2:4]]
        if name is None:
            kept.append(segment.data)
        else:
            report.dropped(name)
    return kept


def _jumbf_name(parts: list[bytes]) -> str | None:
    """The name under which a box goes; None where it stays."""
    # Each part repeats the box's own head, of 8 bytes, or 16 where the size needs them.
    head = parts[0][_JUMBF_HEAD : _JUMBF_HEAD + 8]
    skipped = _JUMBF_HEAD + (16 if head[:4] == b"\0\0\0\1" else 8)
    content = b"".join(part[skipped:] for part in parts)
    if _C2PA in content[:64]:
        return "c2pa"
    if head[4:] != b"jumb":
        return "jpeg_xt"
    return "jumbf" if may_hide_picture(content) else None


def _unknown_with_pictures(segments: Sequence[Segment]) -> set[int]:
    """Which segments of no known kind, by their place in the list, hold a picture, or part of one that goes on from
    segment to segment: then all go that begin like the first, and those that begin like none."""
    groups: dict[tuple[int, bytes], list[int]] = {}
    for index, segment in enumerate(segments):
        if not _kind(segment):
            match = _IDENTIFIER.match(segment.payload)
            groups.setdefault((segment.marker, match[0] if match else b""), []).append(index)
    found: set[int] = set()
    for (marker, _), members in groups.items():
        payloads = [segments[index].payload for index in members]
        if marker == COM:
            # Comments do not go on in each other, but for a text that one did not hold.
            if comment_may_hide_picture(b"".join(payloads)):
                alone = [index for index in members if _comment_holds(segments[index].payload)]
                found.update(alone or members)
            continue
        followers = [index for index in groups.get((marker, b""), []) if index not in members]
        payloads += [segments[index].payload for index in followers]
        opaque = is_opaque(b"".join(payloads))
        if opaque or any(_holds(block) for block in _joined(payloads)) or any(map(_leads_to_picture, payloads)):
            found.update(members, followers)
    return found


def _joined(payloads: list[bytes]) -> Iterator[bytes]:
    """The payloads one behind the other, with and without what each begins with to say what it is."""
    if payloads:
        yield b"".join(payloads)
    if len(payloads) > 1:
        yield b"".join(payload[match.end() if (match := _IDENTIFIER.match(payload)) else 0 :] for payload in payloads)


def _holds(payload: bytes) -> bool:
    return holds_picture(payload) or _leads_to_picture(payload)


def _comment_holds(payload: bytes) -> bool:
    return comment_may_hide_picture(payload) or _leads_to_picture(payload)


def _leads_to_picture(payload: bytes) -> bool:
    """Whether a TIFF directory leads to a picture."""
    head = re.search(rb"II\*\0|MM\0\*", payload[:32])
    return head is not None and holds_pictures(payload[head.start() :])
