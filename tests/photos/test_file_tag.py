"""The tag's place in each format: it comes back, goes away, and changes nothing of the picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from facecloak.photos import decode_photo
from facecloak.photos.file_tag import payload_of, picture_of, with_tag, without_tag

Save = Callable[..., bytes]
PAYLOAD = bytes(range(256)) + b"\xff\xd9 odd length"

KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": ("JPEG", {"quality": 90}),
    "jpeg with metadata": ("JPEG", {"quality": 90, "comment": b"hello", "icc_profile": b"profile" * 50}),
    "progressive": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"quality": 80}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "webp with metadata": ("WEBP", {"quality": 80, "icc_profile": b"profile" * 51}),
}


@pytest.fixture(params=KINDS)
def photo(request: pytest.FixtureRequest, scene: np.ndarray, save: Save) -> bytes:
    kind, options = KINDS[request.param]
    return save(scene, kind, **options)


def test_a_marker_is_found_and_the_picture_is_the_same(photo: bytes) -> None:
    out = with_tag(photo, PAYLOAD)
    assert payload_of(photo) is None
    assert payload_of(out) == PAYLOAD
    assert [bytes(part) for part in picture_of(out)] == [bytes(part) for part in picture_of(photo)]
    assert np.array_equal(decode_photo(out).srgb_u8, decode_photo(photo).srgb_u8)


def test_a_marker_goes_without_a_trace_of_its_payload(photo: bytes) -> None:
    bare = without_tag(with_tag(photo, PAYLOAD))
    assert payload_of(bare) is None
    assert PAYLOAD not in bare
    assert np.array_equal(decode_photo(bare).srgb_u8, decode_photo(photo).srgb_u8)
    if not photo.startswith(b"RIFF"):
        assert bare == photo


def test_several_markers_all_go(photo: bytes) -> None:
    twice = with_tag(with_tag(photo, b"one"), b"two")
    assert payload_of(without_tag(twice)) is None


def test_transparency_survives_marking(save: Save, scene: np.ndarray) -> None:
    rgba = np.dstack([scene, np.full(scene.shape[:2], 7, np.uint8)])
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("WEBP", {"quality": 80})):
        out = with_tag(save(rgba, kind, **options), PAYLOAD)
        import io

        from PIL import Image  # the alpha channel is kept aside by decode_photo

        with Image.open(io.BytesIO(out)) as image:
            assert np.array(image.convert("RGBA"))[:, :, 3].max() == 7


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"RIFF1234WEBP", b"\x89PNG\r\n\x1a\n123", b"GIF89a", b"\xff" * 40]
)
def test_no_file_has_no_marker(data: bytes) -> None:
    assert payload_of(data) is None
    assert without_tag(data) == data
