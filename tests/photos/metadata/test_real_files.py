"""Photos of real cameras and the known faults: what ExifTool and the C2PA library read before and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facecloak.photos import decode_photo, encode_reported
from facecloak.photos.native_splice import CannotSplice, is_available
from tests.photos.c2pa_files import manifest_state, signed_by_camera
from tests.photos.exiftool import Tags, changed_tags, tags_of
from tests.photos.metadata import blocks
from tests.photos.metadata.hidden import WAYS, encoded, picture, pictures

# For each name the tags that may then differ.
TAGS = {
    "exif.thumbnail:redrawn": {"IFD1:ThumbnailImage", "IFD1:ThumbnailLength", "IFD1:ThumbnailTIFF"},
    "jfxx.thumbnail": {"JFXX:ThumbnailImage"},
    "photoshop.thumbnail": {"Photoshop:PhotoshopThumbnail"},
    "xmp.GImage": {"XMP-GImage:ImageData", "XMP-GImage:ImageMimeType", "XMP-xmpNote:HasExtendedXMP"},
    "xmp.GDepth": {"XMP-GDepth:Format"},
    "xmp.hdrgm": {"XMP-hdrgm:Version"},
    "xmp.MotionPhoto": {
        "XMP-GCamera:MotionPhoto", "XMP-GCamera:MotionPhotoVersion", "XMP-GCamera:MicroVideo",
        "XMP-GCamera:MicroVideoVersion", "XMP-GCamera:MicroVideoOffset",
        "XMP-GCamera:MotionPhotoPresentationTimestampUs", "XMP-GCamera:MicroVideoPresentationTimestampUs",
    },
    "xmp.Container": {
        "XMP-Container:ContainerDirectory", "XMP-Container:DirectoryItemLength", "XMP-Container:DirectoryItemMime",
        "XMP-Container:DirectoryItemPadding", "XMP-Container:DirectoryItemSemantic",
        "XMP-GContainer:ContainerDirectory",
    },
    "mpf": {"File:MPF"},
}  # fmt: skip
# Groups that go as a whole.
GROUPS = {
    "mpf": ("MPF", "MPImage"), "trailer.pictures": ("Trailer", "Google:GainMap", "MPImage", "File:", "JFIF"),
    "c2pa": ("JUMBF", "CBOR", "Jpeg2000:C2pa", "Jpeg2000:C2PA"),
    "trailer.video": ("Trailer", "Google:MotionPhotoVideo", "Track", "QuickTime", "File:"),
    "iso21496": ("GainMap", "ISO", "APP2:UniformResourceName"),
    "xmp.Container": ("XMP-GContainer", "XMP-Container"),
}  # fmt: skip
FAULTS = {
    "c2pa_claim_thumbnail.jpg": ("c2pa",),
    "photoshop_irb_thumbnail.jpg": ("photoshop.thumbnail",),
    "landmarks_of_stored_pixels.jpg": ("exif.thumbnail:redrawn",),
    "xmp_gimage_original.jpg": ("xmp.GImage", "xmp.GDepth"),
    "ultrahdr_motion_xmp.jpg": (
        "trailer.video", "trailer.pictures", "xmp.hdrgm", "xmp.MotionPhoto", "xmp.Container", "iso21496", "mpf",
    ),
    "black_and_white.jpeg": (),
    "enroll_from_cloaked.jpg": (),
}  # fmt: skip


def both_ways(data: bytes) -> list[tuple[bytes, tuple[str, ...]]]:
    """The photo with something added in its middle, by each path that takes it."""
    from facecloak.photos import DEFAULT_LIMITS
    from facecloak.photos.splice import JpegSplice
    from tests.photos.test_splice import Spot, soft

    photo = decode_photo(data)
    changed = photo.srgb_u8.copy()
    middle = (slice(photo.height // 3, photo.height // 2), slice(photo.width // 3, photo.width // 2))
    changed[middle] = np.clip(changed[middle].astype(int) + 9, 0, 255)
    done = encode_reported(photo, changed)
    ways = [(done.data, done.dropped)]
    if is_available():
        try:
            splice = JpegSplice(data, limits=DEFAULT_LIMITS)
            levels = soft(np.random.default_rng(1), 64, 64)
            pieces = splice.added([Spot(photo.width // 3, photo.height // 3, levels)])
        except CannotSplice:
            return ways
        assert pieces is not None
        ways.append((pieces.joined(), pieces.dropped))
    return ways


def unexplained(before: Tags, after: Tags, dropped: tuple[str, ...]) -> set[str]:
    """Tags that differ and that no reported name accounts for."""
    explained = {tag for name in dropped for tag in TAGS.get(name, ())}
    groups = tuple(group for name in dropped for group in GROUPS.get(name, ()))
    changed = changed_tags(before, after)
    return {tag for tag in changed - explained if not (groups and tag.startswith(groups))}


@pytest.mark.parametrize("name", FAULTS)
def test_known_fault(shared_dir: Path, name: str) -> None:
    data = (shared_dir / "photos" / "faults" / name).read_bytes()
    ways = both_ways(data)
    before, *after = tags_of([data, *(out for out, _ in ways)], ".jpg")
    for (out, dropped), tags in zip(ways, after, strict=True):
        assert dropped == FAULTS[name]
        assert unexplained(before, tags, dropped) == set()
        assert len(list(pictures(out))) == 1 + dropped.count("exif.thumbnail:redrawn")


def test_camera_photos_keep_every_tag_that_is_not_reported(shared_dir: Path) -> None:
    files = sorted((shared_dir / "photos" / "phones").iterdir())
    files = [path for path in files if not path.name.startswith("orientation") or path.stem.endswith(("_1", "_6"))]
    assert len(files) > 15
    photos, results = [], []
    for path in files:
        data = path.read_bytes()
        for out, dropped in both_ways(data):
            photos += [data, out]
            results.append((path.name, dropped))
    tags = tags_of(photos, ".jpg")
    for (name, dropped), before, after in zip(results, tags[::2], tags[1::2], strict=True):
        assert unexplained(before, after, dropped) == set(), name


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_made_files_keep_every_tag_that_is_not_reported(way) -> None:
    """Where the folder of measuring photos is absent, too."""
    if way is WAYS["spliced"] and not is_available():
        pytest.skip("the splice codec was not built: no Rust compiler here")
    data = blocks.with_segments(
        encoded(picture(), quality=92),
        blocks.segment(0xE1, b"Exif\0\0" + blocks.exif_thumbnail(orientation=6)),
        blocks.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + blocks.xmp("", "hdrgm:Version='1.0'")),
        blocks.segment(0xED, b"Photoshop 3.0\0" + blocks.photoshop_thumbnail()),
    )
    out, dropped = way(data)
    assert dropped == ("exif.thumbnail:redrawn", "xmp.hdrgm", "photoshop.thumbnail")
    before, after = tags_of([data, out], ".jpg")
    assert unexplained(before, after, dropped) == set()
    changed = changed_tags(before, after)
    assert {"IFD1:ThumbnailImage", "XMP-hdrgm:Version", "Photoshop:PhotoshopThumbnail"} <= changed
    assert not [name for name in after if "Warning" in name or "Error" in name]


def test_a_signed_photo_leaves_without_a_manifest_rather_than_with_a_broken_one() -> None:
    photo = signed_by_camera(encoded(picture(), quality=92))
    assert manifest_state(photo) == "Valid"
    for out, dropped in both_ways(photo):
        assert dropped == ("c2pa",)
        assert manifest_state(out) is None


def test_the_known_signed_photo_leaves_without_a_manifest(shared_dir: Path) -> None:
    photo = (shared_dir / "photos" / "faults" / "c2pa_claim_thumbnail.jpg").read_bytes()
    assert manifest_state(photo) == "Valid"
    for out, _ in both_ways(photo):
        assert manifest_state(out) is None
