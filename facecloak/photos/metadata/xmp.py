"""XMP: properties that hold pictures, or announce what is no longer in the file, are cut out of the packet's text.

XML is read by expat, which gives the place of each element, so everything that stays does so byte for byte (ISO
16684-1 serializes XMP as RDF/XML). DOCTYPEs are refused: XMP has none, and entities could make a packet grow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from facecloak.photos.metadata.announced import NOTHING, Announced
from facecloak.photos.metadata.embedded import holds_picture
from facecloak.photos.metadata.opaque import value_codes_data
from facecloak.photos.metadata.report import Report

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NOTE = "http://ns.adobe.com/xmp/note/"
# Namespaces that hold pictures or announce pictures and videos beside the first one, and the usual prefix of each.
_NAMESPACES = {
    "http://ns.google.com/photos/1.0/image/": "GImage",
    "http://ns.google.com/photos/1.0/depthmap/": "GDepth",
    "http://ns.google.com/photos/1.0/container/": "Container",
    "http://ns.google.com/photos/1.0/container/item/": "Container",
    "http://ns.google.com/photos/dd/1.0/device/": "Device",
    "http://ns.adobe.com/hdr-gain-map/1.0/": "hdrgm",
    "http://ns.apple.com/HDRGainMap/1.0/": "HDRGainMap",
    "http://ns.apple.com/depthData/1.0/": "depthData",
    "http://ns.apple.com/pixeldatainfo/1.0/": "apdi",
    "http://ns.xiaomi.com/photos/1.0/camera/": "MiCamera",
    "http://ns.adobe.com/xap/1.0/g/img/": "Thumbnails",
}  # fmt: skip
_OF_GAIN_MAPS = frozenset(
    (
        "http://ns.adobe.com/hdr-gain-map/1.0/",
        "http://ns.apple.com/HDRGainMap/1.0/",
        "http://ns.apple.com/pixeldatainfo/1.0/",
    )
)
_DIRECTORY = ("http://ns.google.com/photos/1.0/container/", "Directory")
# Where a video begins, counted from the file's end.
_VIDEO_OFFSETS = ("MicroVideoOffset", "VideoOffset")
_PROPERTIES = {
    ("http://ns.adobe.com/xap/1.0/", "Thumbnails"): "Thumbnails",
    ("http://purl.org/dc/terms/", "provenance"): "provenance",  # where a C2PA manifest is, which the change voids
    ("http://ns.seal/2024/1.0/", "seal"): "seal",  # a signature over the file
}
# A video beside the photo, whichever maker's namespace says so.
_MOTION = re.compile(r"motion_?photo|micro_?video|live_?photo|video_?length|video_?offset", re.IGNORECASE)
# The same, for packets that cannot be read.
_ANNOUNCING = tuple(
    word.lower().encode()
    for word in (*_NAMESPACES, "http://purl.org/dc/terms/", ":Thumbnails", "MotionPhoto", "Motion_Photo", "MicroVideo",
                 "Micro_Video", "LivePhoto", "Live_Photo", "VideoLength", "Video_Length", "VideoOffset", "Video_Offset")
)  # fmt: skip
_ATTRIBUTE = re.compile(rb"""\s+([^\s=/>"']+)\s*=\s*("[^"]*"|'[^']*')""")
_TAG_NAME = re.compile(rb"<[^\s/>]+")
_REFERENCE = re.compile(rb"&#x?[0-9A-Fa-f]+;")
_MARKUP = re.compile(rb"<[^<>]*>")
_PADDING = b"\0 \t\r\n"
# Shorter values hold no picture of a face.
_SMALLEST_VALUE = 100
_MAX_DEPTH = 200


@dataclass(frozen=True)
class CleanedXmp:
    """A packet without what had to go; None where all of it had to. ``properties`` is how many are left; -1 where the
    packet could not be read."""

    packet: bytes | None
    properties: int


def cleaned_xmp(
    packet: bytes,
    report: Report,
    *,
    extension: dict[str, str | None] | None = None,
    announced: Announced = NOTHING,
) -> CleanedXmp:
    """Clean one packet; the very same bytes where nothing was to be done.

    Args:
        packet: the XML.
        report: told what went.
        extension: digests of extended packets (XMP specification part 3, 1.1.3.1) -> their new digests, None for
            those that are gone.
        announced: what stands behind the photo, which the packet may go on announcing.
    """
    body = packet.rstrip(_PADDING)
    if b"\0" in body[:4]:
        return _unreadable(packet, report)  # UTF-16 or UTF-32, which no file format allows
    reader = _Reader(body, extension or {}, report.xml_elements_left, announced)
    try:
        reader.read()
    except (expat.ExpatError, _NotXmp):
        return _unreadable(packet, report)
    finally:
        report.xml_elements_left = reader.elements_left
    if not reader.cuts:
        return _unless_picture(packet, reader.properties, report)
    for name in reader.names:
        report.dropped(f"xmp.{name}")
    out: list[bytes] = []
    at = 0
    for begin, end, instead in sorted(reader.cuts):
        if begin >= at:
            out += [body[at:begin], instead]
            at = end
        elif end > at:
            at = end
    return _unless_picture(b"".join([*out, body[at:], packet[len(body) :]]), reader.properties, report)


def _unless_picture(packet: bytes, properties: int, report: Report) -> CleanedXmp:
    """A packet, unless it holds a picture where no property is: in comments, in names, in a text cut up by elements."""
    if _is_picture(packet) or _is_picture(_MARKUP.sub(b"", packet)):
        report.dropped("xmp")
        return CleanedXmp(None, -1)
    return CleanedXmp(packet, properties)


def _unreadable(packet: bytes, report: Report) -> CleanedXmp:
    """A packet that cannot be read stays only where it surely holds and announces nothing."""
    if holds_picture(packet):
        report.dropped("xmp")
        return CleanedXmp(None, -1)
    text = packet.replace(b"\0", b"")
    lower = text.lower()
    announces = any(word in lower for word in _ANNOUNCING)
    if announces or (text != packet and holds_picture(text)) or _is_picture(text):
        report.dropped("xmp")
        return CleanedXmp(None, -1)
    return CleanedXmp(packet, -1)


class _NotXmp(ValueError):
    pass


@dataclass
class _Element:
    uri: str
    local: str
    begin: int
    inside: int
    empty: bool
    leaf: bool = True
    dropped_as: str | None = None
    holds: bool = False


@dataclass
class _Reader:
    """One pass over a packet: what to cut, and what to put there instead."""

    body: bytes
    extension: dict[str, str | None]
    elements_left: int
    announced: Announced
    cuts: list[tuple[int, int, bytes]] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)
    properties: int = 0
    open: list[_Element] = field(default_factory=list)
    mimes: list[tuple[str, str, int, int]] = field(default_factory=list)
    pictures: set[tuple[str, str]] = field(default_factory=set)

    def read(self) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.ordered_attributes = True
        parser.buffer_text = True

        def refuse(*_: object) -> None:
            raise _NotXmp

        parser.StartDoctypeDeclHandler = refuse
        parser.EntityDeclHandler = refuse
        parser.StartElementHandler = lambda name, attributes: self._start(name, attributes, parser.CurrentByteIndex)
        parser.EndElementHandler = lambda name: self._end(parser.CurrentByteIndex)
        parser.Parse(self.body, True)
        for uri, local, begin, end in self.mimes:
            # GImage:Mime of GImage:Data, GCamera:RelitInputImageMime of GCamera:RelitInputImageData.
            if any(space == uri and local.removesuffix("Mime") == name for space, name in self.pictures):
                self.cuts.append((begin, end, b""))
                self.properties -= 1

    def _start(self, name: str, attributes: list[str], begin: int) -> None:
        self.elements_left = max(self.elements_left - 1, 0)
        if len(self.open) >= _MAX_DEPTH or not self.elements_left:
            raise _NotXmp
        uri, _, local = name.rpartition(" ")
        if self.open:
            self.open[-1].leaf = False
        places, inside = self._attribute_places(begin)
        if len(places) * 2 != len(attributes):
            raise _NotXmp
        element = _Element(uri, local, begin, inside, self.body[inside - 2 : inside] == b"/>")
        element.dropped_as = None if uri == _RDF else self._verdict(uri, local)
        self.open.append(element)
        for index, (first, last, value) in enumerate(places):
            self._attribute(attributes[2 * index], first, last, value)

    def _attribute_places(self, begin: int) -> tuple[list[tuple[int, int, int]], int]:
        """(begin, end, begin of the quoted value) of each attribute but namespaces, and where the tag ends."""
        head = _TAG_NAME.match(self.body, begin)
        if head is None:
            raise _NotXmp
        places: list[tuple[int, int, int]] = []
        at = head.end()
        while match := _ATTRIBUTE.match(self.body, at):
            if match[1] != b"xmlns" and not match[1].startswith(b"xmlns:"):
                places.append((match.start(), match.end(), match.start(2)))
            at = match.end()
        return places, self.body.index(b">", at) + 1

    def _attribute(self, name: str, begin: int, end: int, value: int) -> None:
        uri, _, local = name.rpartition(" ")
        if uri in ("", _RDF, "adobe:ns:meta/", "http://www.w3.org/XML/1998/namespace"):
            return
        content = self.body[value + 1 : end - 1]
        if (uri, local) == (_NOTE, "HasExtendedXMP"):
            self._extended(content, value + 1, end - 1, whole=(begin, end))
        elif local in _VIDEO_OFFSETS and self.announced.video_bytes:
            self.cuts.append((value + 1, end - 1, b"%d" % self.announced.video_bytes))
        elif dropped := self._verdict(uri, local) or (local if _is_picture(content) else None):
            self._drop(uri, local, begin, end, dropped)
            return
        elif local.endswith("Mime"):
            self.mimes.append((uri, local, begin, end))
        self.properties += not self._is_within_dropped()

    def _is_within_dropped(self) -> bool:
        return any(element.dropped_as is not None for element in self.open)

    def _end(self, index: int) -> None:
        element = self.open.pop()
        end = index if element.empty else self.body.index(b">", index) + 1
        content = b"" if element.empty else self.body[element.inside : index]
        if element.leaf and element.dropped_as is None:
            if (element.uri, element.local) == (_NOTE, "HasExtendedXMP"):
                self._extended(content, element.inside, index, whole=(element.begin, end))
            element.holds = _is_picture(content)
        if element.holds and element.dropped_as is None:
            # An array's item, a value's qualifier: then the property that has it.
            if element.uri == _RDF and self.open:
                self.open[-1].holds = True
            else:
                element.dropped_as = element.local
        if element.dropped_as is not None:
            if (element.uri, element.local) == _DIRECTORY and (new := self.announced.directory()):
                self.cuts.append((element.begin, end, new))
                self.properties += 1
                return
            self._drop(element.uri, element.local, element.begin, end, element.dropped_as)
            return
        if element.leaf and element.local in _VIDEO_OFFSETS and self.announced.video_bytes:
            self.cuts.append((element.inside, index, b"%d" % self.announced.video_bytes))
        if element.leaf and element.local.endswith("Mime"):
            self.mimes.append((element.uri, element.local, element.begin, end))
        if element.uri != _RDF and self.open and not self._is_within_dropped():
            self.properties += 1

    def _verdict(self, uri: str, local: str) -> str | None:
        if any((element.uri, element.local) == _DIRECTORY for element in self.open) and self.announced.directory():
            return None  # all of it is written anew
        return _verdict(uri, local, self.announced)

    def _drop(self, uri: str, local: str, begin: int, end: int, name: str) -> None:
        self.cuts.append((begin, end, b""))
        self.names[name] = None
        self.pictures.add((uri, local.removesuffix("Data")))

    def _extended(self, content: bytes, begin: int, end: int, *, whole: tuple[int, int]) -> None:
        """The digest of the extended packet: the new one, or none."""
        old = content.decode("latin-1").strip()
        if old in self.extension:
            new = self.extension[old]
            if new is None:
                self.cuts.append((*whole, b""))
            elif new != old:
                self.cuts.append((begin, end, new.encode()))


def _verdict(uri: str, local: str, announced: Announced) -> str | None:
    """The name under which a property goes; None where it stays."""
    if uri in _OF_GAIN_MAPS and announced.has_gain_map:
        return None
    if announced.video_bytes and uri not in _NAMESPACES and _MOTION.search(local):
        return None
    if (name := _PROPERTIES.get((uri, local)) or _NAMESPACES.get(uri)) is not None:
        return name
    return "MotionPhoto" if _MOTION.search(local) else None


def _is_picture(content: bytes) -> bool:
    if len(content) < _SMALLEST_VALUE:
        return False
    text = _REFERENCE.sub(b"", content) if b"&#" in content else content
    return holds_picture(text) or value_codes_data(text)
