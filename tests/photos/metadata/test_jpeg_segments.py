"""Every kind of segment with a picture of the uncloaked face in it: none is left, all else is, on both paths."""

from __future__ import annotations

import base64
import gzip
import struct
import zlib

import cv2
import pytest

from facecloak.photos import DEFAULT_LIMITS, PhotoDamaged
from facecloak.photos.jpeg_structure import read_structure
from facecloak.photos.native_splice import CannotSplice, is_available
from facecloak.photos.orientation import orientation_of
from tests.photos.metadata import blocks
from tests.photos.metadata.blocks import segment, with_segments
from tests.photos.metadata.hidden import HEIGHT, WAYS, WIDTH, encoded, face_colors, picture, pictures, small

EXIF, XMP, MPF = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"MPF\0MM\0*"
PHOTOSHOP = b"Photoshop 3.0\0"
# Segments that stay, between those that go.
KEPT = (
    segment(0xFE, b"a comment"),
    segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(range(256))),
    segment(0xEC, b"Ducky\0\1\0\4\0\0\0\x5a\0\0"),
    segment(0xE7, b"someone else's"),
)


def split(marker: int, head: bytes, data: bytes, room: int = 2000) -> list[bytes]:
    return [segment(marker, head + data[at : at + room]) for at in range(0, len(data), room)]


def of_xmp(properties: str, attributes: str = "") -> list[bytes]:
    return [segment(0xE1, XMP + blocks.xmp(properties, attributes))]


def of_extended(properties: str) -> list[bytes]:
    digest, segments = blocks.extended_xmp(blocks.xmp(properties))
    return [*of_xmp("", f'xmpNote:HasExtendedXMP="{digest}"'), *segments]


def data_of(name: str) -> str:
    return f'{name}="{base64.b64encode(small(quality=95)).decode()}"'


HIDING: dict[str, tuple[list[bytes], tuple[str, ...]]] = {
    "EXIF thumbnail": ([segment(0xE1, EXIF + blocks.exif_thumbnail())], ("exif.thumbnail:redrawn",)),
    "EXIF thumbnail of samples": ([segment(0xE1, EXIF + blocks.exif_samples())], ("exif.thumbnail:redrawn",)),
    "EXIF thumbnail without room": ([segment(0xE1, EXIF + blocks.exif_too_tight())], ("exif.thumbnail",)),
    "maker note": ([segment(0xE1, EXIF + blocks.exif_maker_note())], ("exif.preview:redrawn",)),
    "text in EXIF": ([segment(0xE1, EXIF + blocks.text_in_exif())], ("exif.preview",)),
    "EXIF in two segments": (split(0xE1, EXIF, blocks.exif_thumbnail(), 1500), ("exif.thumbnail:redrawn",)),
    "EXIF with a picture in its XMP": (
        [segment(0xE1, EXIF + blocks.tiff({0x02BC: ("B", blocks.xmp(blocks.xmp_thumbnails()))}))],
        ("xmp.Thumbnails",),
    ),
    "EXIF with a picture in its Photoshop resources": (
        [segment(0xE1, EXIF + blocks.tiff({0x8649: ("U", blocks.photoshop_thumbnail())}))],
        ("photoshop.thumbnail",),
    ),
    **{
        # Of a picture in two fields, the part in one is data of no known kind by itself.
        f"XMP with a picture {name}": (
            [segment(0xE1, XMP + packet)],
            ("xmp.q", "xmp") if name == "in two fields" else ("xmp",),
        )
        for name, packet in blocks.xmp_with_pictures_outside_properties().items()
    },
    "behind Adobe's marker": ([segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + small())], ("app14",)),
    "no EXIF under its name": ([segment(0xE1, EXIF + b"??" + small())], ("exif.preview:redrawn",)),
    "JFIF thumbnail": (
        [segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1" + bytes((40, 28)) + b"\xdc\x28\x1e" * 1120)],
        ("jfif.thumbnail",),
    ),
    "JFXX thumbnail": ([segment(0xE0, b"JFXX\0\x10" + small())], ("jfxx.thumbnail",)),
    "JFXX thumbnail of samples": ([segment(0xE0, b"JFXX\0\x13\2\1" + b"\xdc\x28\x1e" * 2)], ("jfxx.thumbnail",)),
    "XMP thumbnails": (of_xmp(blocks.xmp_thumbnails()), ("xmp.Thumbnails",)),
    "XMP of a name nobody knows": (
        of_xmp(f"   <maker:x><rdf:Bag><rdf:li>{blocks.base64_lines(small())}</rdf:li></rdf:Bag></maker:x>\n"),
        ("xmp.x",),
    ),
    "XMP attribute": (
        of_xmp("", 'GCamera:RelitInputImageMime="image/jpeg" ' + data_of("GCamera:RelitInputImageData")),
        ("xmp.RelitInputImageData",),
    ),
    "XMP with a data URL": (
        of_xmp(f"<maker:u>data:image/webp;base64,{base64.b64encode(small(kind='WEBP')).decode()}</maker:u>"),
        ("xmp.u",),
    ),
    "XMP of a motion photo": (
        of_xmp(
            "<Container:Directory><rdf:Seq><rdf:li rdf:parseType='Resource'><Container:Item Item:Mime='video/mp4' "
            "Item:Length='38004'/></rdf:li></rdf:Seq></Container:Directory>",
            "GCamera:MicroVideo='1' GCamera:MicroVideoOffset='38004' hdrgm:Version='1.0'",
        ),
        ("xmp.MotionPhoto", "xmp.hdrgm", "xmp.Container"),
    ),
    "XMP that says where a manifest is": (
        of_xmp("", "dcterms:provenance='https://manifests.example/1'"),
        ("xmp.provenance",),
    ),
    "XMP that is no XML": ([segment(0xE1, XMP + b"<x><xmpGImg:image>" + base64.b64encode(small()))], ("xmp",)),
    "XMP with entities": (
        [segment(0xE1, XMP + b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>" + base64.b64encode(small()) + b"</x>")],
        ("xmp",),
    ),
    "extended XMP": (of_extended(f"<GImage:Data>{base64.b64encode(small(320, 224, quality=99)).decode()}</GImage:Data>"
                                 "<GImage:Mime>image/jpeg</GImage:Mime>"), ("xmp.GImage",)),
    "extended XMP that is not whole": ([
        segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 9**8, 77) + small())
    ], ("xmp.extended",)),
    "MPF": ([segment(0xE2, MPF + b"an index of pictures")], ("mpf",)),
    "ISO 21496-1": ([segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")], ("iso21496",)),
    "FlashPix": (split(0xE2, b"FPXR\0", small()), ("app2",)),
    "APP3": ([segment(0xE3, b"Meta\0\0" + blocks.exif_thumbnail())], ("app3",)),
    "APP3 of samples": ([segment(0xE3, b"Meta\0\0" + blocks.exif_samples())], ("app3",)),
    "Scalado": ([segment(0xE4, b"SCALADO\0 where blocks begin")], ("scalado",)),
    "preview in bare segments": (split(0xE4, b"", small()), ("app4",)),
    "preview behind names": (split(0xE5, b"BGTH\0", small(quality=97)), ("app5",)),
    "thermal": (split(0xE1, b"FLIR\0\1\0\0", small(kind="PNG")), ("thermal",)),
    "gain map's curve": ([segment(0xEA, b"AROT\0\0 a curve")], ("arot",)),
    "JPEG-HDR": (split(0xEB, b"HDR_RI ver=11\n", small()), ("jpeg_hdr",)),
    "C2PA": (blocks.jumbf(b"jumb", blocks.c2pa_content(), room=4000), ("c2pa",)),
    "JPEG XT": (blocks.jumbf(b"RESI", small()), ("jpeg_xt",)),
    "another JUMBF": (blocks.jumbf(b"jumb", b"\0\0\0\x1ajumd" + b"\1" * 18 + small(kind="PNG")), ("jumbf",)),
    "Photoshop thumbnail": ([segment(0xED, PHOTOSHOP + blocks.photoshop_thumbnail())], ("photoshop.thumbnail",)),
    "Photoshop in two segments": (split(0xED, PHOTOSHOP, blocks.photoshop_thumbnail(), 1200), ("photoshop.thumbnail",)),
    "Photoshop, EXIF inside": (
        [segment(0xED, PHOTOSHOP + blocks.resources(0x0422, blocks.exif_thumbnail()))],
        ("exif.thumbnail:redrawn",),
    ),
    "Photoshop, unknown resource": (
        [segment(0xED, PHOTOSHOP + blocks.resources(0x0FA1, b"plug-in" + small(kind="PNG")))],
        ("photoshop.data",),
    ),
    "IPTC preview": (
        [segment(0xED, PHOTOSHOP + blocks.resources(0x0404, blocks.iptc_preview()) + blocks.resources(0x0425, b"16"))],
        ("iptc.preview", "photoshop.iptc_digest"),
    ),
    "APP15": ([segment(0xEF, b"Q 95" + small(kind="WEBP"))], ("app15",)),
    "comment": ([segment(0xFE, b"see: " + base64.b64encode(small()))], ("com",)),
    "hex in a comment": ([segment(0xFE, small(80, 56).hex().encode())], ("com",)),
    "samples in a comment": ([segment(0xFE, blocks.samples())], ("com",)),
    "compressed samples in a comment": ([segment(0xFE, b"see: " + zlib.compress(blocks.samples()))], ("com",)),
    "a compressed picture in a comment": ([segment(0xFE, zlib.compress(small(), 9))], ("com",)),
    "base64 of samples in a comment": ([segment(0xFE, base64.encodebytes(blocks.samples()))], ("com",)),
    "a comment longer than people write": ([segment(0xFE, b"a long comment. " * 600)], ("com",)),
    "samples in APP8": ([segment(0xE8, b"Maker\0" + blocks.samples())], ("app8",)),
    "samples in bare segments": (split(0xE6, b"", blocks.samples(), 500), ("app6",)),
    "samples behind names": (split(0xE5, b"MAKER\0", blocks.samples(), 500), ("app5",)),
    "compressed samples in APP9": ([segment(0xE9, b"Maker\0" + gzip.compress(blocks.samples()))], ("app9",)),
    "a compressed picture in a maker note": (
        [segment(0xE1, EXIF + blocks.tiff(blocks.MAKER, {0x927C: ("U", b"Maker\0\0\1" + zlib.compress(small()))}))],
        ("exif.preview",),
    ),
    "compressed samples in a maker note": (
        [segment(0xE1, EXIF + blocks.tiff(blocks.MAKER, {0x927C: ("U", b"M\0" + zlib.compress(blocks.samples()))}))],
        ("exif.preview",),
    ),
    "samples in a tag of EXIF that nobody knows": (
        [segment(0xE1, EXIF + blocks.tiff({**blocks.MAKER, 0xC7FE: ("U", blocks.samples())}))],
        ("exif.data",),
    ),
    "samples in EXIF's comment": (
        [segment(0xE1, EXIF + blocks.tiff(blocks.MAKER, {0x9286: ("U", b"ASCII\0\0\0" + blocks.samples())}))],
        ("exif.data",),
    ),
    "samples in a plug-in's resource": (
        [segment(0xED, PHOTOSHOP + blocks.resources(0x0FA1, blocks.samples()))],
        ("photoshop.data",),
    ),
    "base64 of samples in XMP": (
        of_xmp("", f'maker:portrait="{base64.b64encode(blocks.samples()).decode()}"'),
        ("xmp.portrait",),
    ),
    "a compressed picture in XMP": (
        of_xmp(f"<maker:log>{base64.b64encode(gzip.compress(small())).decode()}</maker:log>"),
        ("xmp.log",),
    ),
    "a video": ([segment(0xE8, b"\0\0\0\x18ftypmp42\0\0\0\0 and so on")], ("app8",)),
    "a signature over the file": ([segment(0xE8, b"SEAL\0<seal seal='1'/>")], ("seal",)),
}  # fmt: skip

# Of these the search finds no picture: they hold none, hold samples, or parts of one.
ANNOUNCING = {
    "EXIF in two segments", "Photoshop in two segments", "C2PA", "preview behind names", "APP3 of samples",
    "EXIF thumbnail of samples", "EXIF thumbnail without room", "JFIF thumbnail",
    "JFXX thumbnail of samples", "XMP of a motion photo", "XMP that says where a manifest is", "MPF", "ISO 21496-1",
    "samples in a comment", "compressed samples in a comment", "base64 of samples in a comment",
    "a comment longer than people write", "samples in APP8", "samples in bare segments",
    "samples behind names", "compressed samples in APP9", "compressed samples in a maker note",
    "samples in a tag of EXIF that nobody knows", "samples in EXIF's comment", "samples in a plug-in's resource",
    "base64 of samples in XMP", "a compressed picture in XMP", "Scalado", "gain map's curve", "a video",
    "a signature over the file",
}  # fmt: skip


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest):
    if request.param == "spliced" and not is_available():
        pytest.skip("the splice codec was not built: no Rust compiler here")
    return WAYS[request.param]


@pytest.fixture(scope="module")
def photo() -> bytes:
    return encoded(picture(), quality=92)


@pytest.mark.parametrize("name", HIDING)
def test_no_picture_of_the_old_face_is_left_and_all_else_is(photo: bytes, way, name: str) -> None:
    segments, dropped = HIDING[name]
    data = with_segments(photo, KEPT[0], KEPT[1], *segments, KEPT[2], KEPT[3])
    if name not in ANNOUNCING:
        assert face_colors(data).count("red") > 1  # so the search below would find it
    out, names = way(data)
    assert names == dropped
    assert set(face_colors(out)) == {"blue"}
    left = [s.data for s in read_structure(out, DEFAULT_LIMITS).metadata]
    assert [s for s in left if s in KEPT] == list(KEPT)
    with_jfif = [s.data for s in read_structure(photo, DEFAULT_LIMITS).metadata]
    assert set(with_jfif) <= set(left)


PLAIN = {
    "a long comment": segment(0xFE, "Zoë wrote: a day at the sea. ".encode() * 100),
    "a short comment of bytes": segment(0xFE, bytes(range(200))),
    "settings as text": segment(0xE8, b"Maker\0" + b"scene=portrait;gain=2.5;\n" * 200),
    "a few bytes of a maker's": segment(0xE9, bytes(range(256)) * 3),
    "zeros": segment(0xEA, b"Maker\0" + bytes(9000)),
    "compressed text": segment(0xE5, b"Maker\0" + zlib.compress(b"scene=portrait;gain=2.5;\n" * 200)),
    "EXIF": segment(0xE1, EXIF + blocks.tiff(
        {**blocks.MAKER, 0xC4A5: ("U", bytes(range(182))), 0xEA1C: ("U", bytes(4000))},
        {0x9286: ("U", b"ASCII\0\0\0" + b"a day at the sea. " * 100), 0x927C: ("U", bytes(range(256)) * 40)},
    )),
    "XMP": of_xmp(
        f"<maker:note>{'a day at the sea. ' * 200}</maker:note>", f"maker:digest='{'0123456789abcdef' * 8}'"
    )[0],
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_what_can_be_looked_into_or_is_too_short_stays(photo: bytes, way, name: str) -> None:
    out, names = way(with_segments(photo, PLAIN[name]))
    assert names == ()
    assert PLAIN[name] in out


def long_tiff(*, directories: int = 1, entries: int = 0, strips: int = 1, down: bool = False) -> bytes:
    """A TIFF block that says where samples are at the end of more than a program writes: of a chain of directories, or
    of one in the other; of entries; or in many strips."""
    size = 2 + 12 * (entries + 4) + 4
    places = 8 + size * directories
    data = places + 8 * strips
    each = len(blocks.samples()) // strips
    out = b"MM\0*" + struct.pack(">I", 8)
    for index in range(directories):
        last = index == directories - 1
        following = 0 if last else 8 + size * (index + 1)
        rows = [(0x0112, 3, 1, 6 << 16), *((0x0200 + number, 3, 1, 0) for number in range(entries))]
        at = (places, places + 4 * strips) if strips > 1 else (data, each)
        rows += [(0x0111, 4, strips, at[0]), (0x0117, 4, strips, at[1])] if last else [(1, 3, 1, 0), (2, 3, 1, 0)]
        rows.append((0x014A, 4, 1, following if down else 0))
        out += struct.pack(">H", len(rows)) + b"".join(struct.pack(">HHII", *row) for row in rows)
        out += struct.pack(">I", 0 if down else following)
    out += struct.pack(f">{strips}I", *(data + each * index for index in range(strips)))
    return out + struct.pack(f">{strips}I", *[each] * strips) + blocks.samples()


LONG = {
    "chain": {"directories": 90}, "one in the other": {"directories": 90, "down": True}, "entries": {"entries": 600},
    "strips of one sample": {"strips": 1632}, "short chain": {"directories": 40}, "few entries": {"entries": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", LONG)
def test_samples_at_the_end_of_a_long_directory_go(photo: bytes, way, name: str) -> None:
    tiff = long_tiff(**LONG[name])
    out, names = way(with_segments(photo, segment(0xE1, EXIF + tiff)))
    assert names
    assert blocks.samples()[300:340] not in out
    (exif,) = [s.payload for s in read_structure(out, DEFAULT_LIMITS).metadata if s.payload.startswith(EXIF)]
    assert len(exif) == len(EXIF + tiff)
    assert orientation_of(exif[len(EXIF) :]) == 6  # whatever else went


def test_more_strips_than_are_looked_at(photo: bytes, way) -> None:
    """More strips than samples, so that they lie over each other."""
    count, data = 5000, 8 + 2 + 12 * 2 + 4 + 8 * 5000
    rows = struct.pack(">HHIIHHII", 0x0111, 4, count, 38, 0x0117, 4, count, 38 + 4 * count)
    places = struct.pack(f">{count}I", *(data + index % 1632 for index in range(count)))
    tiff = b"MM\0*" + struct.pack(">IH", 8, 2) + rows + bytes(4) + places + b"\0\0\0\1" * count + blocks.samples()
    out, names = way(with_segments(photo, segment(0xE1, EXIF + tiff)))
    assert names == ("exif.data",)
    assert blocks.samples()[300:340] not in out


UNNAMED = {
    "behind EXIF": (segment(0xE1, EXIF + blocks.tiff(blocks.MAKER) + blocks.samples()), "exif.data"),
    "no EXIF": (segment(0xE1, EXIF + blocks.samples()), "exif.data"),
    "behind resources": (segment(0xED, PHOTOSHOP + blocks.samples()), "photoshop.data"),
    "IPTC caption": (
        segment(0xED, PHOTOSHOP + blocks.resources(0x0404, b"\x1c\x02\x78\x06\x60" + blocks.samples())),
        "iptc.preview",
    ),
    "behind Adobe's marker": (segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + blocks.samples()), "app14"),
    "JUMBF": (blocks.jumbf(b"jumb", b"\0\0\0\x1ajumd" + b"\1" * 18 + blocks.samples())[0], "jumbf"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNNAMED)
def test_samples_that_nothing_leads_to_go(photo: bytes, way, name: str) -> None:
    hiding, dropped = UNNAMED[name]
    out, names = way(with_segments(photo, hiding))
    assert names == (dropped,)
    assert blocks.samples()[300:340] not in out


def test_samples_spread_over_comments_go(photo: bytes, way) -> None:
    out, names = way(with_segments(photo, *split(0xFE, b"", blocks.samples().hex().encode(), 900)))
    assert names == ("com",)
    assert blocks.samples().hex().encode()[:100] not in out


def profile(*parts: bytes) -> list[bytes]:
    return [segment(0xE2, b"ICC_PROFILE\0" + bytes((index, len(parts))) + part) for index, part in enumerate(parts, 1)]


@pytest.mark.parametrize("cut", [0, 700])
def test_a_profile_that_holds_a_picture_goes_whole(photo: bytes, way, cut: int) -> None:
    content = b"\0" * 36 + b"acsp" + b"\0" * 88 + small(quality=95)
    data = with_segments(photo, *profile(*filter(None, [content[:cut], content[cut:]])), KEPT[0])
    out, names = way(data)
    assert names == ("icc",)
    assert set(face_colors(out)) == {"blue"}
    assert KEPT[0] in out
    assert b"ICC_PROFILE" not in out


def _behind_the_picture(photo: bytes) -> bytes:
    """Where decoders look no more: between the last code and the end marker."""
    return photo[:-2] + LETTERS + photo[-2:]


def _between_restarts(photo: bytes) -> bytes:
    done, data = cv2.imencode(".jpg", picture()[..., ::-1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 20])
    assert done
    at = data.tobytes().rindex(b"\xff\xd4")
    return data.tobytes()[:at] + LETTERS + data.tobytes()[at:]


LETTERS = base64.b64encode(small(quality=95))


@pytest.mark.parametrize("hide", [_behind_the_picture, _between_restarts])
def test_letters_among_the_codes_send_a_photo_the_other_way(photo: bytes, hide) -> None:
    data = hide(photo)
    if is_available():
        with pytest.raises(CannotSplice):
            WAYS["spliced"](data)
    try:
        out, _ = WAYS["reencoded"](data)
    except PhotoDamaged:
        return  # a decoder may refuse them as well
    assert LETTERS[:100] not in out
    assert set(face_colors(out)) == {"blue"}


@pytest.mark.parametrize(
    "longer",
    [
        lambda data: lengthened(data, b"\xff\xc0"),
        lambda data: lengthened(data, b"\xff\xc4"),
        lambda data: lengthened(data, b"\xff\xdb"),
        lambda data: lengthened(data, b"\xff\xda"),
        lambda data: with_segments(data, segment(0xDD, b"\0\0" + small())),
    ],
    ids=["frame", "Huffman tables", "quantization tables", "scan", "restart interval"],
)  # fmt: skip
def test_headers_that_are_longer_than_they_may_be_are_refused(photo: bytes, longer) -> None:
    with pytest.raises(PhotoDamaged):
        WAYS["reencoded"](longer(photo))
    if is_available():
        with pytest.raises(CannotSplice):
            WAYS["spliced"](longer(photo))


def lengthened(data: bytes, marker: bytes) -> bytes:
    """A file whose first such segment has a picture behind what belongs there."""
    at = data.index(marker) + 2
    size = int.from_bytes(data[at : at + 2], "big")
    picture_of_it = small()
    new = (size + len(picture_of_it)).to_bytes(2, "big")
    return data[:at] + new + data[at + 2 : at + size] + picture_of_it + data[at + size :]


@pytest.mark.parametrize("trailer", ["pictures", "video", "samsung", "padding"])
def test_what_lies_behind_the_picture_goes_and_is_named(photo: bytes, way, trailer: str) -> None:
    content = {
        "pictures": small(),
        "video": b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + small(),
        "samsung": b"SEFH" + small() + b"SEFT",
        "padding": b"\0" * 100,
    }[trailer]
    out, names = way(photo + content)
    assert set(face_colors(out)) == {"blue"}
    assert ("trailer" if trailer == "padding" else f"trailer.{trailer}") in names
    assert all(name.startswith("trailer") for name in names)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_thumbnail_is_drawn_anew_as_it_was_stored(way, orientation: int) -> None:
    """In the size and the orientation of the old one, be it the photo's own or one that IFD1 states."""
    exif = blocks.exif_thumbnail()
    photo = with_segments(encoded(picture(), quality=92), segment(0xE1, EXIF + exif))
    out, names = way(photo)
    thumbnail = [pixels for pixels in pictures(out) if pixels.shape == (112, 160, 3)]
    assert len(thumbnail) == 1
    assert names == ("exif.thumbnail:redrawn",)
    turned = with_segments(encoded(picture(), quality=92), segment(0xE1, EXIF + blocks.exif_thumbnail(
        orientation=1, thumbnail_orientation=orientation)))  # fmt: skip
    (own,) = [pixels for pixels in pictures(way(turned)[0]) if pixels.shape == (112, 160, 3)]
    # Blue lies to the right of the middle of the ground only where the thumbnail is turned by what it states.
    blue = own[:, :, 2].astype(int) - own[:, :, 0] > 60
    rows, columns = blue.nonzero()
    share = (columns.mean() / 160, rows.mean() / 112)
    face = ((160 / WIDTH), (112 / HEIGHT))
    wanted = {1: face, 3: (1 - face[0], 1 - face[1]), 6: (face[1], 1 - face[0]), 8: (1 - face[1], face[0])}[orientation]
    assert share == pytest.approx(wanted, abs=0.06)


def test_the_photo_that_nobody_is_cloaked_in_comes_back_with_everything(photo: bytes) -> None:
    from facecloak.photos import decode_photo, encode_reported

    data = with_segments(photo, *[s for segments, _ in HIDING.values() for s in segments]) + small()
    decoded = decode_photo(data)
    assert encode_reported(decoded, decoded.srgb_u8).data is data
    assert encode_reported(decoded, decoded.srgb_u8).dropped == ()


def test_all_kinds_at_once(photo: bytes, way) -> None:
    segments = [s for name, (found, _) in HIDING.items() if "JFIF" not in name for s in found]
    out, names = way(with_segments(photo, *segments) + small())
    assert set(face_colors(out)) <= {"blue", "neither"}
    assert len(names) > 25


def test_xmp_keeps_every_other_byte(photo: bytes, way) -> None:
    packet = blocks.xmp("")
    hiding = blocks.xmp("HERE").replace(b"HERE", blocks.xmp_thumbnails().encode())
    out, _ = way(with_segments(photo, segment(0xE1, XMP + hiding)))
    left = next(s.payload for s in read_structure(out, DEFAULT_LIMITS).metadata if s.payload.startswith(XMP))
    assert left[len(XMP) :] == packet.replace(b"</xmp:Rating>\n", b"</xmp:Rating>\n   \n")


def test_an_extended_packet_that_changes_gets_its_new_digest(photo: bytes, way) -> None:
    """Without its picture, with all that it says besides."""
    import hashlib

    extension = blocks.xmp(
        f"<GImage:Data>{base64.b64encode(small()).decode()}</GImage:Data><maker:long>kept</maker:long>"
    )
    digest, segments = blocks.extended_xmp(extension, room=3000)
    out, names = way(with_segments(photo, *of_xmp("", f'xmpNote:HasExtendedXMP="{digest}"'), *segments))
    assert names == ("xmp.GImage",)
    metadata = [s.payload for s in read_structure(out, DEFAULT_LIMITS).metadata]
    (part,) = [s for s in metadata if s.startswith(b"http://ns.adobe.com/xmp/extension/\0")]
    packet = part[35 + 40 :]
    new = hashlib.md5(packet).hexdigest().upper()
    assert part[35 : 35 + 32] == new.encode()
    assert struct.unpack(">II", part[67:75]) == (len(packet), 0)
    assert b"<maker:long>kept</maker:long>" in packet
    (main,) = [s for s in metadata if s.startswith(XMP)]
    assert f'xmpNote:HasExtendedXMP="{new}"'.encode() in main
