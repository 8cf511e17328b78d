"""Metadata blocks as cameras and programs write them, each with a picture of the uncloaked face somewhere in it."""

from __future__ import annotations

import base64
import hashlib
import struct

from tests.photos.metadata.hidden import picture, small

TIFF_TYPES = {"B": 1, "A": 2, "H": 3, "I": 4, "U": 7}


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


Values = dict[int, tuple[str, list[int] | bytes]]


def tiff(main: Values, exif: Values | None = None, thumbnail: Values | None = None, *, picture: bytes = b"") -> bytes:
    """A big-endian TIFF block of IFD0, an EXIF directory and IFD1. 0x0201 and 0x0111 are put right to where ``picture``
    lands, which is behind all else."""
    directories: list[Values] = [dict(main)]
    if exif is not None:
        directories[0][0x8769] = ("I", [0])
        directories.append(dict(exif))
    if thumbnail is not None:
        directories.append(dict(thumbnail))
    starts, at = [], 8
    for directory in directories:
        starts.append(at)
        at += 2 + 12 * len(directory) + 4
    if exif is not None:
        directories[0][0x8769] = ("I", [starts[1]])
    extra, bodies = b"", []
    total = sum(len(_packed(*value)) + 1 for directory in directories for value in directory.values())
    place = at + total
    for index, directory in enumerate(directories):
        body = struct.pack(">H", len(directory))
        for tag, (kind, values) in sorted(directory.items()):
            if tag in (0x0201, 0x0111):
                values = [place]
            packed = _packed(kind, values)
            count = len(values)
            if len(packed) <= 4:
                field = packed.ljust(4, b"\0")
            else:
                field = struct.pack(">I", at + len(extra))
                extra += packed
            body += struct.pack(">HHI", tag, TIFF_TYPES[kind], count) + field
        following = starts[-1] if index == 0 and thumbnail is not None else 0
        bodies.append(body + struct.pack(">I", following))
    head = b"MM\0*" + struct.pack(">I", 8) + b"".join(bodies) + extra
    return head.ljust(place, b"\0") + picture


def _packed(kind: str, values: list[int] | bytes) -> bytes:
    return bytes(values) if kind in "BAU" else struct.pack(f">{len(values)}{kind}", *values)


MAKER: Values = {0x010F: ("A", b"Maker of cameras\0"), 0x0112: ("H", [1])}


def exif_thumbnail(
    *, orientation: int = 1, thumbnail_orientation: int | None = None, size: int = 160, old: bytes = b""
) -> bytes:
    old = old or small(size, size * 7 // 10, quality=90)
    directory: Values = {0x0103: ("H", [6]), 0x0201: ("I", [0]), 0x0202: ("I", [len(old)])}
    if thumbnail_orientation is not None:
        directory[0x0112] = ("H", [thumbnail_orientation])
    return tiff(
        {**MAKER, 0x0112: ("H", [orientation])}, {0x9003: ("A", b"2026:01:02 03:04:05\0")}, directory, picture=old
    )


def exif_samples() -> bytes:
    """A thumbnail of RGB samples, as old Kodaks have."""
    import cv2

    old = cv2.resize(picture(), (96, 64), interpolation=cv2.INTER_AREA).tobytes()
    directory: Values = {
        0x0100: ("I", [96]), 0x0101: ("I", [64]), 0x0102: ("H", [8, 8, 8]), 0x0103: ("H", [1]), 0x0106: ("H", [2]),
        0x0111: ("I", [0]), 0x0115: ("H", [3]), 0x0117: ("I", [len(old)]), 0x011C: ("H", [1]),
    }  # fmt: skip
    return tiff(MAKER, {}, directory, picture=old)


def samples() -> bytes:
    """The uncloaked photo as gray samples, with some noise as cameras have."""
    import cv2
    import numpy as np

    gray = cv2.cvtColor(cv2.resize(picture(), (48, 34), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return np.clip(gray + np.random.default_rng(4).normal(0, 9, gray.shape), 0, 255).astype(np.uint8).tobytes()


def exif_maker_note() -> bytes:
    """A preview in a maker note, whose first byte is not 0xFF, as Minolta's and Sony's."""
    old = small(quality=92)
    return tiff(MAKER, {0x927C: ("U", b"Maker\0\0\1 some settings" + b"\2" + old[1:] + b"more settings")})


def exif_too_tight() -> bytes:
    """A thumbnail in whose place no picture of its size fits."""
    old = small(160, 112, quality=1, optimize=True)
    old = old[:2] + old[old.index(b"\xff\xdb") :]
    size = old.index(b"\xff\xc0") + 5
    old = old[:size] + struct.pack(">HH", 1112, 1160) + old[size + 4 :]
    directory: Values = {0x0103: ("H", [6]), 0x0201: ("I", [0]), 0x0202: ("I", [len(old)])}
    return tiff(MAKER, {}, directory, picture=old)


def text_in_exif() -> bytes:
    return tiff(MAKER, {0x9286: ("U", b"ASCII\0\0\0" + base64.b64encode(small()))})


def resources(number: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">H", number) + b"\0\0" + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)


def photoshop_thumbnail() -> bytes:
    head = struct.pack(">IIIIIIHH", 1, 160, 112, 480, 53760, 0, 24, 1)
    return resources(0x03ED, b"\0\x48\0\0\0\1\0\1\0\x48\0\0\0\1\0\1") + resources(0x040C, head + small())


def iptc_preview() -> bytes:
    caption = b"\x1c\x02\x78" + struct.pack(">H", 9) + b"a caption"
    old = small(80, 56, quality=70)
    preview = b"\x1c\x02\xca" + struct.pack(">H", len(old)) + old
    return caption + preview


def xmp(properties: str, attributes: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n  <rdf:Description rdf:about=""\n'
        '    xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:xmpGImg="http://ns.adobe.com/xap/1.0/g/img/"\n'
        '    xmlns:GImage="http://ns.google.com/photos/1.0/image/"\n'
        '    xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"\n'
        '    xmlns:Container="http://ns.google.com/photos/1.0/container/"\n'
        '    xmlns:Item="http://ns.google.com/photos/1.0/container/item/"\n'
        '    xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:maker="http://maker.example/1.0/"\n'
        '    xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmlns:dcterms="http://purl.org/dc/terms/"\n'
        f'    xmp:CreatorTool="a &quot;tool&quot; &gt; 3" {attributes}>\n   <xmp:Rating>5</xmp:Rating>\n{properties}'
        '  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def base64_lines(data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return "&#xA;".join(text[at : at + 76] for at in range(0, len(text), 76))


def xmp_thumbnails() -> str:
    return (
        '   <xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType="Resource"><xmpGImg:format>JPEG</xmpGImg:format>'
        f"<xmpGImg:image>{base64_lines(small())}</xmpGImg:image></rdf:li></rdf:Alt></xmp:Thumbnails>\n"
    )


def extended_xmp(packet: bytes, *, room: int = 20_000) -> tuple[str, list[bytes]]:
    """The digest and the segments of an extended packet."""
    digest = hashlib.md5(packet, usedforsecurity=False).hexdigest().upper()
    return digest, [
        segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + digest.encode() + struct.pack(">II", len(packet), at)
                + packet[at : at + room])
        for at in range(0, len(packet), room)
    ]  # fmt: skip


def jumbf(box_type: bytes, content: bytes, *, instance: int = 1, room: int = 30_000) -> list[bytes]:
    head = struct.pack(">I", 8 + len(content)) + box_type
    return [
        segment(0xEB, b"JP" + struct.pack(">HI", instance, index + 1) + head + content[at : at + room])
        for index, at in enumerate(range(0, len(content), room))
    ]


def c2pa_content() -> bytes:
    description = bytes.fromhex("63327061001100108000 00AA00389B71".replace(" ", "")) + b"\3c2pa\0"
    return struct.pack(">I4s", 8 + len(description), b"jumd") + description + small(300, 210, quality=95)


def xmp_with_pictures_outside_properties() -> dict[str, bytes]:
    """Where XMP may hold base64, but no property has it as its value."""
    text = base64.b64encode(small(quality=95)).decode()
    pieces = "".join(f"<rdf:li>{text[at : at + 76]}</rdf:li>" for at in range(0, len(text), 76))
    fields = f"<foo:p>{text[:90]}</foo:p><foo:q>{text[90:]}</foo:q>"
    plain = "<foo:a>1</foo:a>"
    foo = 'xmlns:foo="http://example.org/foo/"'
    packets = {
        "in a comment": xmp(f"{plain}<!-- {text} -->", foo),
        "behind the packet's end": xmp(plain, foo) + f"<!--{text}-->".encode(),
        "in an instruction": xmp(plain, foo) + f"<?foo {text}?>".encode(),
        "in a reference": xmp(f'<foo:a rdf:resource="data:image/jpeg;base64,{text}"/>', foo),
        "in a language": xmp(f'<foo:a xml:lang="{text}">1</foo:a>', foo),
        "in a namespace": xmp(plain, f'{foo} xmlns:q="{text}"'),
        "between properties": xmp(plain + text, foo),
        "before an element": xmp(f"<foo:a>{text}<foo:b>1</foo:b></foo:a>", foo),
        "in the items of a list": xmp(f"<foo:a><rdf:Seq>{pieces}</rdf:Seq></foo:a>", foo),
        "in two fields": xmp(f'<foo:a rdf:parseType="Resource">{fields}</foo:a>', foo),
    }  # fmt: skip
    return packets
