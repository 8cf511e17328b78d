"""Photos with companions, as phones write them: gain maps, videos, Samsung's blocks."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
from PIL import Image

from tests.photos.metadata.blocks import segment

GCAMERA = "http://ns.google.com/photos/1.0/camera/"
CONTAINER = "http://ns.google.com/photos/1.0/container/"
ITEM = "http://ns.google.com/photos/1.0/container/item/"
HDRGM = "http://ns.adobe.com/hdr-gain-map/1.0/"
APPLE = "http://ns.apple.com/HDRGainMap/1.0/"
ISO = b"urn:iso:std:iso:ts:21496:-1\0"
VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\0\0\0\x10moov\0\0\0\0film" + b"\0\0\0\x18mdat" + b"the face, moves."


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 90, **options})
    return out.getvalue()


def xmp(attributes: str, inside: str = "", *, spaces: str = "") -> bytes:
    packet = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:GCamera="{GCAMERA}" xmlns:Container="{CONTAINER}" xmlns:Item="{ITEM}" '
        f'xmlns:hdrgm="{HDRGM}" xmlns:HDRGainMap="{APPLE}" {spaces} {attributes}>{inside}</rdf:Description></rdf:RDF>'
        f"</x:xmpmeta>"
    )
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet.encode())


def directory(*items: tuple[str, str, int]) -> str:
    """(semantic, mime, length) of each item."""
    rows = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="{semantic}" Item:Mime="{mime}" '
        f'Item:Length="{length}"/></rdf:li>'
        for semantic, mime, length in items
    )
    return f"<Container:Directory><rdf:Seq>{rows}</rdf:Seq></Container:Directory>"


def gain_map(pixels: np.ndarray, *, scale: int = 2, gray: bool = True, says: str = "hdrgm") -> bytes:
    """The scene's light, at a part of its size: a picture on which everybody is known."""
    height, width = pixels.shape[0] // scale, pixels.shape[1] // scale
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    plain = jpeg(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY) if gray else small, quality=88)
    parameters = {
        "hdrgm": xmp('hdrgm:Version="1.0" hdrgm:GainMapMax="2.3" hdrgm:HDRCapacityMax="2.3"'),
        "iso": segment(0xE2, ISO + b"\0\0\0\0" + bytes(range(57))),
        "apple": xmp('HDRGainMap:HDRGainMapVersion="131072"'),
    }[says]
    return plain[:2] + parameters + plain[2:]


def mpf(primary_bytes: int, places: list[tuple[int, int]]) -> bytes:
    """(size, offset) of the further pictures; little-endian, as many phones have it."""
    count = 1 + len(places)
    entries = struct.pack("<IIIHH", 0x20030000, primary_bytes, 0, 0, 0)
    entries += b"".join(struct.pack("<IIIHH", 0, size, offset, 0, 0) for size, offset in places)
    directory = struct.pack("<HHHI4s", 3, 0xB000, 7, 4, b"0100") + struct.pack("<HHII", 0xB001, 4, 1, count)
    directory += struct.pack("<HHII", 0xB002, 7, 16 * count, 50) + struct.pack("<I", 0)
    return segment(0xE2, b"MPF\0II*\0" + struct.pack("<I", 8) + directory + entries)


def ultra_hdr(
    pixels: np.ndarray, *, video: bytes = b"", says: str = "hdrgm", scale: int = 2, **options: object
) -> bytes:
    """As libultrahdr writes it: version, directory and index in the photo, the parameters in the map."""
    beside = gain_map(pixels, says=says, scale=scale)
    items = [("Primary", "image/jpeg", 0), ("GainMap", "image/jpeg", len(beside))]
    motion = ""
    if video:
        items.append(("MotionPhoto", "video/mp4", len(video)))
        motion = f'GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1" GCamera:MicroVideoOffset="{len(video)}"'
    announced = xmp(f'hdrgm:Version="1.0" GCamera:Kept="yes" {motion}', directory(*items))
    plain = jpeg(pixels, **options)
    head = plain[:2] + announced + segment(0xE2, ISO + b"\0\0\0\0")
    index_bytes = len(mpf(0, [(0, 0)]))
    primary = len(head) + index_bytes + len(plain) - 2
    base = len(head) + 8
    return head + mpf(primary, [(len(beside), primary - base)]) + plain[2:] + beside + video


def samsung_block(kind: int, name: bytes, content: bytes) -> bytes:
    return struct.pack("<HHI", 0, kind, len(name)) + name + content


def samsung_trailer(*blocks: tuple[int, bytes, bytes]) -> bytes:
    wholes = [samsung_block(*block) for block in blocks]
    body, entries, at = b"".join(wholes), b"", 0
    for (kind, _, _), whole in zip(blocks, wholes, strict=True):
        entries += struct.pack("<HHII", 0, kind, len(body) - at, len(whole))
        at += len(whole)
    head = b"SEFH" + struct.pack("<II", 107, len(blocks)) + entries
    return body + head + struct.pack("<I", len(head)) + b"SEFT"
