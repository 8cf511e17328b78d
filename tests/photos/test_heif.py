from __future__ import annotations

import io
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.mutations import mutated
from facecloak.photos import (
    AnimatedPhoto,
    PhotoLimits,
    PhotoRefused,
    PhotoTooLarge,
    PhotoTruncated,
    UnsupportedPhoto,
    decode_photo,
    encode_reported,
)
from facecloak.photos.file_tag import payload_of, picture_of, with_tag, without_tag
from facecloak.photos.heif import read_heif
from facecloak.photos.heif.boxes import box
from facecloak.photos.heif.writer import NewItem, written
from facecloak.photos.memory import estimated_peak_bytes
from facecloak.photos.orientation import to_upright
from tests.photos.heif_files import ALL_FORMATS, avif, heic
from tests.photos.metadata import blocks

MAKERS = [heic, avif]


def changed(photo) -> tuple[np.ndarray, object]:
    own = photo.srgb_u8 if photo.samples_u16 is None else photo.samples_u16
    pixels = own.copy()
    step = 20 if own.dtype == np.uint8 else 20 * 257
    pixels[20:50, 20:60, :3] = np.clip(pixels[20:50, 20:60, :3].astype(int) + step, 0, np.iinfo(own.dtype).max)
    return pixels, encode_reported(photo, pixels)


def properties_of(data: bytes) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for kind, content in read_heif(data, ALL_FORMATS).primary.properties:
        found.setdefault(kind, []).append(content)
    return found


@pytest.mark.parametrize("make", MAKERS)
def test_it_is_taken_only_where_the_limits_have_it(make, scene) -> None:
    data = make(scene)
    with pytest.raises(UnsupportedPhoto) as refusal:
        decode_photo(data)
    assert refusal.value.metadata["format"] == make.__name__.upper()
    assert estimated_peak_bytes(data) == 0
    assert str(decode_photo(data, limits=ALL_FORMATS).format) == make.__name__.upper()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_format_orientation_and_pixels_stay(make, scene, exif, orientation: int) -> None:
    data = make(scene, exif=exif(orientation))
    photo = decode_photo(data, limits=ALL_FORMATS)
    assert photo.orientation == orientation
    assert np.abs(photo.srgb_u8.astype(int) - to_upright(scene, orientation)).mean() < 6
    assert encode_reported(photo, photo.srgb_u8.copy()).data == data
    pixels, out = changed(photo)
    again = decode_photo(out.data, limits=ALL_FORMATS)
    assert (again.format, again.orientation, out.dropped) == (photo.format, orientation, ())
    assert np.abs(again.srgb_u8.astype(int) - pixels).mean() < 3
    before, after = properties_of(data), properties_of(out.data)
    assert (after.get(b"irot"), after.get(b"imir")) == (before.get(b"irot"), before.get(b"imir"))
    assert 0.6 < len(out.data) / len(data) < 1.7


@pytest.mark.parametrize("make", MAKERS)
def test_exif_xmp_and_profile_stay_byte_for_byte(make, scene) -> None:
    profile = bytes(range(256)) * 3
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    tags = Image.Exif()
    tags[0x010F], tags[0x9286] = "Maker", b"ASCII\0\0\0a comment"
    image = Image.fromarray(scene)
    options = {"xmp": packet, "icc_profile": profile} if make is avif else {"xmp": packet}
    image.info["icc_profile"] = profile
    data = make(scene, exif=tags.tobytes(), **options) if make is avif else heic_with_profile(image, tags, packet)
    _, out = changed(decode_photo(data, limits=ALL_FORMATS))
    assert out.dropped == ()
    before, after = read_heif(data, ALL_FORMATS), read_heif(out.data, ALL_FORMATS)
    for kind in (b"Exif", b"mime"):
        contents = [[s.content(i) for i in s.to_primary(b"cdsc") if i.kind == kind] for s in (before, after)]
        assert contents[0] == contents[1]
        assert len(contents[0]) == 1
    assert b"prof" + profile in [content for kind, content in after.primary.properties if kind == b"colr"]


def heic_with_profile(image: Image.Image, tags: Image.Exif, packet: bytes) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(
        out, quality=85, exif=tags.tobytes(), xmp=packet, enc_params={"preset": "ultrafast"}
    )
    return out.getvalue()


def test_a_thumbnail_in_exif_is_drawn_anew(scene, save) -> None:
    small = save(Image.fromarray(scene).resize((64, 44)), "JPEG", quality=85)
    data = heic(scene, exif=b"Exif\0\0" + blocks.exif_thumbnail(old=small))
    assert small in data
    _, out = changed(decode_photo(data, limits=ALL_FORMATS))
    assert small not in out.data
    assert out.dropped == ("exif.thumbnail:redrawn",)


def test_thumbnails_and_further_pictures_go(scene) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = pillow_heif.from_pillow(Image.fromarray(scene))
    file.add_from_pillow(Image.fromarray(255 - scene))
    file[0].info["thumbnails"] = [64]
    out = io.BytesIO()
    file.save(out, quality=80, enc_params={"preset": "ultrafast"}, primary_index=0)
    _, encoded = changed(decode_photo(out.getvalue(), limits=ALL_FORMATS))
    assert encoded.dropped == ("heif.thumbnail", "heif.pictures")
    assert len(read_heif(encoded.data, ALL_FORMATS).items) == 1


def test_tiles_as_phones_write_them(scene) -> None:
    large = np.tile(scene, (4, 4, 1))[:300, :420]
    data = heic(large, tile_size=128)
    assert read_heif(data, ALL_FORMATS).primary.kind == b"grid"
    photo = decode_photo(data, limits=ALL_FORMATS)
    assert photo.srgb_u8.shape == large.shape
    pixels, out = changed(photo)
    assert out.dropped == ()
    assert np.abs(decode_photo(out.data, limits=ALL_FORMATS).srgb_u8.astype(int) - pixels).mean() < 3


def test_ten_bits_stay_in_heic(scene) -> None:
    deep = scene.astype(np.uint16) * 257 + np.arange(130, dtype=np.uint16)[None, :, None]
    data = heic(np.minimum(deep, 65535), quality=95)
    photo = decode_photo(data, limits=ALL_FORMATS)
    assert photo.samples_u16 is not None
    pixels, out = changed(photo)
    again = decode_photo(out.data, limits=ALL_FORMATS)
    assert again.samples_u16 is not None
    assert out.dropped == ()
    assert read_heif(out.data, ALL_FORMATS).bits == 10
    assert np.abs(again.samples_u16.astype(int) - pixels).mean() / 257 < 3


@pytest.mark.parametrize("make", MAKERS)
def test_alpha_stays(make, scene) -> None:
    alpha = np.zeros((90, 130), np.uint8)
    alpha[:, 40:] = 255
    photo = decode_photo(make(np.dstack([scene, alpha])), limits=ALL_FORMATS)
    _, out = changed(photo)
    again = decode_photo(out.data, limits=ALL_FORMATS)
    assert np.abs(again.encoding.alpha.astype(int) - alpha).mean() < 2
    assert out.dropped == ()


def test_the_color_description_stays(scene) -> None:
    data = heic(scene, color_primaries=12, transfer_characteristics=13, matrix_coefficients=6, full_range_flag=1)
    _, out = changed(decode_photo(data, limits=ALL_FORMATS))
    assert properties_of(out.data)[b"colr"] == properties_of(data)[b"colr"]
    assert properties_of(data)[b"colr"][0][:8] == b"nclx\0\x0c\0\x0d"


@pytest.mark.parametrize("make", MAKERS)
def test_what_stands_behind_the_photo_goes(make, scene) -> None:
    video = b"\0\0\0\x18ftypisom" + b"\0" * 12 + b"the face, moving"
    c2pa = box(b"uuid", bytes.fromhex("d8fec3d61b0e483c92975828877ec481"), b"manifest")
    data = make(scene) + c2pa + box(b"mpvd", video) + b"SEFH" + b"\0" * 20
    _, out = changed(decode_photo(data, limits=ALL_FORMATS))
    assert out.dropped == ("c2pa", "trailer.video", "trailer.samsung")
    assert b"moving" not in out.data


@pytest.mark.parametrize("make", MAKERS)
def test_a_tag_goes_in_and_out(make, scene) -> None:
    data = make(scene)
    tagged = with_tag(data, b"payload")
    assert payload_of(data) is None
    assert payload_of(tagged) == b"payload"
    assert without_tag(tagged) == data
    assert [bytes(part) for part in picture_of(tagged)] == [bytes(part) for part in picture_of(data)]
    assert decode_photo(tagged, limits=ALL_FORMATS).srgb_u8.shape == scene.shape


@pytest.mark.parametrize("make", MAKERS)
def test_the_size_is_checked_before_decoding(make, scene) -> None:
    limits = PhotoLimits(formats=ALL_FORMATS.formats, max_side=129)
    with pytest.raises(PhotoTooLarge):
        decode_photo(make(scene), limits=limits)
    with pytest.raises(PhotoTooLarge):
        estimated_peak_bytes(make(scene), limits=limits)


@pytest.mark.parametrize("make", MAKERS)
def test_every_cut_is_refused(make, scene) -> None:
    data = make(scene)
    for length in [*range(16, len(data), 509), len(data) - 1]:
        with pytest.raises(PhotoRefused):
            decode_photo(data[:length], limits=ALL_FORMATS)
    with pytest.raises(PhotoTruncated):
        decode_photo(data[:40], limits=ALL_FORMATS)


@pytest.mark.parametrize("make", MAKERS)
def test_a_profile_that_holds_a_picture_goes(make, scene) -> None:
    out = io.BytesIO()
    Image.fromarray(scene[:48, :64]).save(out, "JPEG")
    profile = b"\0" * 36 + b"acsp" + b"\0" * 88 + out.getvalue()
    data = make(scene, icc_profile=profile)
    assert profile[-200:] in data
    _, done = changed(decode_photo(data, limits=ALL_FORMATS))
    assert done.dropped == ("icc",)
    assert profile[-200:] not in done.data


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("width", "height"), [(101, 80), (100, 77), (101, 77)])
def test_odd_sizes_are_taken(make, scene, width: int, height: int) -> None:
    """Encoders of HEIC add a row or a column, and cut it off by ``clap``."""
    data = make(np.ascontiguousarray(scene[:height, :width]), exif=None)
    photo = decode_photo(data, limits=ALL_FORMATS)
    assert photo.srgb_u8.shape == (height, width, 3)
    pixels, out = changed(photo)
    again = decode_photo(out.data, limits=ALL_FORMATS).srgb_u8
    assert again.shape == pixels.shape
    assert np.abs(again.astype(int) - pixels).mean() < 3


def cut(data: bytes, *numbers: int, turned_first: bool = False) -> bytes:
    """The file with a ``clap`` of eight numbers, and turned by a quarter anti-clockwise."""
    structure = read_heif(data, ALL_FORMATS)
    photo, head = structure.primary, structure.boxes[0]
    own = [(kind, content, kind in (b"hvcC", b"av1C")) for kind, content in photo.properties if kind != b"clap"]
    turns = [(b"clap", struct.pack(">IIIIiIiI", *numbers), True), (b"irot", b"\1", True)]
    properties = own + (turns[::-1] if turned_first else turns)
    items = [NewItem(photo.kind, structure.content(photo), properties=properties)]
    return written(items, head=data[head.begin : head.end])


@pytest.mark.parametrize("make", MAKERS)
def test_of_a_picture_that_is_cut_only_what_it_shows_comes_back(make, scene) -> None:
    height, width = scene.shape[0] // 2 * 2, scene.shape[1] // 2 * 2
    whole = np.ascontiguousarray(scene[:height, :width])
    # 61 columns, their middle 4.5 px left of the photo's; 40 rows, 3 px below it.
    data = cut(make(whole), 61, 1, 40, 1, -9, 2, 3, 1)
    photo = decode_photo(data, limits=ALL_FORMATS)
    left, top = (width - 61 - 9) // 2, (height - 40) // 2 + 3
    shown = np.rot90(whole[top : top + 40, left : left + 61])
    assert photo.orientation == 8
    assert np.abs(photo.srgb_u8.astype(int) - shown).mean() < 6
    pixels, out = changed(photo)
    again = read_heif(out.data, ALL_FORMATS)
    left, top, right, bottom = again.shown
    assert (right - left, bottom - top) == (61, 40)
    assert max(again.width, again.height) <= 64  # what the encoder adds, and nothing of the old picture's rest
    after = decode_photo(out.data, limits=ALL_FORMATS)
    assert (after.orientation, after.srgb_u8.shape) == (8, shown.shape)
    assert np.abs(after.srgb_u8.astype(int) - pixels).mean() < 4


@pytest.mark.parametrize(
    "numbers",
    [
        (61, 2, 40, 1, 0, 1, 0, 1), (61, 0, 40, 1, 0, 1, 0, 1), (61, 1, 40, 1, 0, 1, 0, 1), (60, 1, 40, 1, 0, 0, 0, 1),
        (60, 1, 40, 1, 900, 1, 0, 1), (9000, 1, 40, 1, 0, 1, 0, 1), (0, 1, 40, 1, 0, 1, 0, 1),
    ],
)  # fmt: skip
def test_cuts_that_are_none_are_refused(scene, numbers: tuple[int, ...]) -> None:
    data = heic(np.ascontiguousarray(scene[:80, :100]))
    with pytest.raises(UnsupportedPhoto):
        decode_photo(cut(data, *numbers), limits=ALL_FORMATS)
    with pytest.raises(UnsupportedPhoto):
        decode_photo(cut(data, 60, 1, 40, 1, 0, 1, 0, 1, turned_first=True), limits=ALL_FORMATS)


def test_sequences_and_videos_are_refused_by_name(scene) -> None:
    out = io.BytesIO()
    first, second = Image.fromarray(scene), Image.fromarray(255 - scene)
    first.save(out, "AVIF", save_all=True, append_images=[second], duration=100, speed=10)
    with pytest.raises(AnimatedPhoto):
        decode_photo(out.getvalue(), limits=ALL_FORMATS)
    video = b"\0\0\0\x14ftypmp42\0\0\0\0isom" + box(b"moov", b"\0" * 20)
    with pytest.raises(UnsupportedPhoto, match="video"):
        decode_photo(video, limits=ALL_FORMATS)


@pytest.mark.parametrize("make", MAKERS)
def test_hostile_structures_end_in_a_refusal(make, scene) -> None:
    """Boxes alone: what reaches a decoder is for a process of its own."""
    seeds = [make(scene[:32, :32]), heic(np.tile(scene, (2, 2, 1)), tile_size=64)]
    for run in range(3000):
        data = mutated(np.random.default_rng(run), seeds)
        try:
            structure = read_heif(data, ALL_FORMATS)
            assert structure.orientation in range(1, 9)
            assert 1 <= structure.bits <= 264
        except PhotoRefused:
            continue


def test_no_decoder_is_loaded_for_other_photos() -> None:
    code = (
        "import sys, numpy, simplejpeg; from facecloak.photos import decode_photo;"
        "decode_photo(simplejpeg.encode_jpeg(numpy.zeros((32, 32, 3), numpy.uint8), colorspace='RGB'));"
        "assert not {'pillow_heif', '_pillow_heif', 'torch', 'PIL._avif'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_tells_a_file_by_its_beginning_finds_the_exif_there(scene, exif) -> None:
    """OpenCV refuses AVIFs whose EXIF stands behind the picture."""
    data = avif(scene, exif=exif(6))
    _, out = changed(decode_photo(data, limits=ALL_FORMATS))
    assert cv2.imdecode(np.frombuffer(out.data, np.uint8), cv2.IMREAD_COLOR) is not None
