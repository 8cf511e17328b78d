"""Real odd files: each has a stated outcome. The files come with thumbor's tests and with EXIF sample collections."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from facecloak.photos import PhotoRefused, decode_photo, encode_photo

JPEG, PNG, WEBP = "JPEG", "PNG", "WEBP"
TOO_LARGE, UNSUPPORTED, COLOR_MODE = "PHOTO_TOO_LARGE", "UNSUPPORTED_PHOTO", "UNSUPPORTED_COLOR_MODE"
TRUNCATED = "PHOTO_TRUNCATED"

ODD = {
    "15967251_212831_19242645__D0_90_D0_B3_D0_B0_D1_82_D0_B0_D0_B2_"
    "D0_97_D0_BE_D0_BE_D0_BF_D0_B0_D1_80_D0_BA_D0_B5.jpg": JPEG,
    "16383x16383.png": TOO_LARGE,
    "16384x16384.png": TOO_LARGE,
    "1bit.png": PNG,
    "1x1.png": PNG,
    "1x1.psd": UNSUPPORTED,
    "20x20.jpg": JPEG,
    "256_color_palette.png": PNG,
    "940x2.png": PNG,
    "9643x10328.jpg": TOO_LARGE,
    "BlueSquare_truncated.jpg": TRUNCATED,
    "Giunchedi_2C_Filippo_January_2015_01-cmyk-orientation-exif.jpg": COLOR_MODE,
    "Giunchedi_2C_Filippo_January_2015_01-cmyk.jpg": COLOR_MODE,
    "Giunchedi_2C_Filippo_January_2015_01-grayscale.jpg": JPEG,
    "Giunchedi_2C_Filippo_January_2015_01.jpg": JPEG,
    "Giunchedi_2C_Filippo_January_2015_01.png": PNG,
    "Rotating_earth_(large).gif": UNSUPPORTED,
    "SmallFullColourGIF.gif": UNSUPPORTED,
    "alabama1_ap620_C3_A9.jpg": JPEG,
    "animated-one-frame.gif": UNSUPPORTED,
    "animated.gif": UNSUPPORTED,
    "broken-exif-tag.jpg": JPEG,
    "cmyk-icc.jpg": COLOR_MODE,
    "cmyk.jpg": COLOR_MODE,
    "gradient_8bit.tif": UNSUPPORTED,
    "gradient_lsb_16bperchannel.tif": UNSUPPORTED,
    "gradient_msb_16bperchannel.tif": UNSUPPORTED,
    "grayscale-icc.jpg": JPEG,
    "grayscale.jpg": JPEG,
    "image.avif": UNSUPPORTED,
    "image.heic": UNSUPPORTED,
    "image.jp2": UNSUPPORTED,
    "image.jpg": JPEG,
    "image.webp": WEBP,
    "image2_20.jpg": JPEG,
    "image_.jpg": JPEG,
    "image_20space.jpg": JPEG,
    "image_invalid.jpg": UNSUPPORTED,
    "invalid_quantization.jpg": JPEG,
    "no_face.jpg": JPEG,
    "paletted-transparent.png": PNG,
    "single_point.jpg": JPEG,
    "thumbor-exif.png": PNG,
    "watermark.png": PNG,
    "weird_normalize_error.jpg": JPEG,
}


def outcome_of(data: bytes) -> str:
    """The refusal's reason, or the format of a photo that was decoded, changed, encoded and decoded again."""
    try:
        photo = decode_photo(data)
    except PhotoRefused as refusal:
        return refusal.reason
    assert encode_photo(photo, photo.srgb_u8.copy()) == data
    changed = photo.srgb_u8.copy()
    changed[: photo.height // 2] = np.clip(changed[: photo.height // 2].astype(int) + 5, 0, 255)
    again = decode_photo(encode_photo(photo, changed))
    assert (again.format, again.orientation) == (photo.format, photo.orientation)
    assert again.srgb_u8.shape == photo.srgb_u8.shape
    assert np.abs(again.srgb_u8.astype(int) - changed).mean() < 1.5
    return str(photo.format)


@pytest.mark.parametrize("name", ODD)
def test_odd_file(shared_dir: Path, name: str) -> None:
    start = time.process_time()
    assert outcome_of((shared_dir / "photos" / "odd" / name).read_bytes()) == ODD[name]
    assert time.process_time() - start < 5


def test_every_odd_file_is_in_the_table(shared_dir: Path) -> None:
    assert {path.name for path in (shared_dir / "photos" / "odd").iterdir()} == set(ODD)


@pytest.mark.parametrize("folder", ["phones", "groups"])
def test_every_camera_photo_is_taken(shared_dir: Path, folder: str) -> None:
    files = sorted((shared_dir / "photos" / folder).iterdir())
    assert len(files) >= 6
    assert {path.name: outcome_of(path.read_bytes()) for path in files} == {path.name: JPEG for path in files}
