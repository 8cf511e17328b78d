"""A photo that is being cloaked: a mask is fitted to it, whatever its format, depth and colors."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from facecloak.call_context import unobserved
from facecloak.cloaking.photo_session import EncodingPath, PhotoSession
from facecloak.faces import Face, FaceFinder, aligned_crop
from facecloak.masks.displacement import quantize_displacement
from facecloak.masks.mask import Mask, MaskGeometry
from facecloak.photos import DEFAULT_LIMITS, decode_photo
from facecloak.photos.native_splice import is_available


@pytest.fixture(scope="module")
def portrait(astronaut_srgb_u8: np.ndarray) -> np.ndarray:
    return astronaut_srgb_u8[:400, :400]


@pytest.fixture(scope="module")
def face(portrait: np.ndarray, model_repository: object) -> Face:
    return FaceFinder.load(model_repository).find(np.ascontiguousarray(portrait))[0]  # type: ignore[arg-type]


def colorful_mask(*, moves: bool = True) -> Mask:
    """Levels of all colors and a displacement as long as that of the default strength."""
    rng = np.random.default_rng(2)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (112, 112, 3)), (0, 0), 2)
    field = cv2.GaussianBlur(rng.normal(0, 1, (112, 112, 2)), (0, 0), 4)
    return Mask.new(
        np.clip(noise / noise.std() * 14, -60, 60).astype(np.int8),
        seed=0,
        geometry=MaskGeometry.FACE,
        displacement=quantize_displacement(field / field.std() * 0.6) if moves else None,
    )


def saved(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, kind, **options)
    return out.getvalue()


def cloaked(data: bytes, mask: Mask, face: Face) -> tuple[bytes, EncodingPath, PhotoSession]:
    photo = PhotoSession(data, limits=DEFAULT_LIMITS, observer=unobserved)
    changed, path = photo.added([photo.place(mask, face, mesh=face.mesh)])
    return changed if isinstance(changed, bytes) else changed.joined(), path, photo


def gray_of(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)


def lab_chroma(pixels: np.ndarray) -> np.ndarray:
    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    return np.hypot(lab[:, :, 1], lab[:, :, 2])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"quality": 92, "subsampling": "4:2:0"}),
        ("JPEG", {"quality": 92, "subsampling": "4:4:4"}),
        ("JPEG", {"quality": 92, "progressive": True}),
    ],
)
def test_a_photo_without_colors_gets_none(portrait: np.ndarray, face: Face, kind: str, options: dict) -> None:
    data = saved(gray_of(portrait), kind, **options)
    out, path, _ = cloaked(data, colorful_mask(), face)
    before, after = decode_photo(data).srgb_u8, decode_photo(out).srgb_u8
    assert path is not EncodingPath.UNCHANGED
    assert np.abs(after.astype(int) - before).max() > 20
    # JPEG's own way from YCbCr to RGB rounds by a level.
    assert np.ptp(after.astype(int), axis=2).max() <= (1 if kind == "JPEG" else 0)
    assert lab_chroma(after).max() < 1


def test_the_same_mask_paints_a_colored_photo_in_colors(portrait: np.ndarray, face: Face) -> None:
    data = saved(portrait, "PNG")
    out, _, _ = cloaked(data, colorful_mask(moves=False), face)
    change = decode_photo(out).srgb_u8.astype(int) - decode_photo(data).srgb_u8
    assert np.ptp(change, axis=2).max() > 20


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_sepia_stays_sepia(portrait: np.ndarray, face: Face, kind: str) -> None:
    sepia = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
    toned = np.clip(gray_of(portrait) @ sepia.T * 0.7, 0, 255).astype(np.uint8)
    data = saved(toned, kind, **({"quality": 92} if kind == "JPEG" else {}))
    before = decode_photo(data).srgb_u8
    after = decode_photo(cloaked(data, colorful_mask(moves=False), face)[0]).srgb_u8.astype(float)
    assert np.abs(after - before).max() > 20
    # What the photo's tint is, at any brightness: G and B as shares of R.
    inside = np.abs(after - before).max(axis=2) > 8
    shares = [picture[inside][:, 1:].sum(axis=0) / picture[inside][:, 0].sum() for picture in (before, after)]
    straying = after[inside][:, 1:] - after[inside][:, :1] * shares[0]
    assert shares[1] == pytest.approx(shares[0], abs=0.01)
    assert np.abs(straying).mean() < 2.5


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.skipif(not is_available(), reason="the splice codec was not built: no Rust compiler here")
def test_a_part_of_a_jpeg_tells_the_same_of_a_face_as_all_of_it(
    portrait: np.ndarray, face: Face, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.rot90(portrait, 1) if orientation == 6 else portrait
    data = saved(stored, "JPEG", quality=92, exif=exif.tobytes())
    photo = PhotoSession(data, limits=DEFAULT_LIMITS, observer=unobserved)
    crop = photo._aligned_crop(face)
    whole = aligned_crop(decode_photo(data).srgb_u8, face.landmarks)
    assert photo._decoded is None
    assert np.abs(crop.astype(int) - whole).mean() < 2


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_displaced_and_painted_at_sixteen_bits(
    portrait: np.ndarray, face: Face, channels: int
) -> None:
    fine = portrait.astype(np.uint16) * 257 + np.random.default_rng(1).integers(-100, 100, portrait.shape).astype(
        np.uint16
    )
    stored = fine[:, :, 0] if channels == 1 else fine[:, :, ::-1]
    if channels == 4:
        alpha = np.random.default_rng(4).integers(0, 65536, portrait.shape[:2]).astype(np.uint16)
        stored = np.dstack([stored, alpha])
    data = cv2.imencode(".png", stored)[1].tobytes()
    out, path, _ = cloaked(data, colorful_mask(), face)
    before, after = decode_photo(data).samples_u16, decode_photo(out).samples_u16
    assert path is EncodingPath.REENCODED
    assert before is not None
    assert after is not None
    if channels == 4:
        assert np.array_equal(after[:, :, 3], before[:, :, 3])
    changed = (after != before).any(axis=2)
    assert 0.02 < changed.mean() < 0.5
    # Bicubic interpolation of 16 bits leaves all low bytes there are, not those of 8 bits times 257.
    low = (after[:, :, 0].astype(int) - before[:, :, 0])[changed] % 257
    assert len(np.unique(low)) > 250


def test_webp_keeps_its_alpha(portrait: np.ndarray, face: Face) -> None:
    alpha = np.random.default_rng(4).integers(0, 256, portrait.shape[:2]).astype(np.uint8)
    data = saved(np.dstack([portrait, alpha]), "WEBP", lossless=True, exact=True)
    out, _, _ = cloaked(data, colorful_mask(), face)
    before, after = (np.array(Image.open(io.BytesIO(file))) for file in (data, out))
    assert np.array_equal(after[:, :, 3], alpha)
    assert (after != before).any()


def test_a_mask_that_only_moves_moves(portrait: np.ndarray, face: Face) -> None:
    both = colorful_mask()
    moving = Mask.new(np.zeros_like(both.pixels), seed=0, geometry=MaskGeometry.FACE, displacement=both.displacement)
    for kind in ("PNG", "JPEG"):
        data = saved(portrait, kind)
        out, path, _ = cloaked(data, moving, face)
        before, after = decode_photo(data).srgb_u8.astype(float), decode_photo(out).srgb_u8.astype(float)
        assert path is not EncodingPath.UNCHANGED
        assert np.abs(after - before).max() > 20
        # It is the same face in the same colors and light.
        assert np.abs(after.mean(axis=(0, 1)) - before.mean(axis=(0, 1))).max() < 0.2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_mask_that_does_nothing_returns_the_very_file(portrait: np.ndarray, face: Face, kind: str) -> None:
    nothing = Mask.new(
        np.zeros((112, 112, 3), np.int8),
        seed=0,
        geometry=MaskGeometry.FACE,
        displacement=np.zeros((28, 28, 2), np.int8),
        target_jod=9.0,
    )
    data = saved(portrait, kind)
    assert cloaked(data, nothing, face)[:2] == (data, EncodingPath.UNCHANGED)
