"""What a photo takes, told before it is decoded, against what a process of its own was seen to take."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facecloak.photos import PhotoLimits, PhotoTooLarge
from facecloak.photos.memory import BESIDE, JPEG, estimated_first_bytes, estimated_peak_bytes
from tests.photos.heif_files import ALL_FORMATS, avif, heic
from tests.photos.large_jpeg import large_jpeg
from tests.photos.test_png import header

WIDTH, HEIGHT = 3000, 2000


def noisy(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def file_of(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(noisy()).save(out, kind, **options)
    return out.getvalue()


def png_of_16_bits() -> bytes:
    pixels = np.dstack([noisy(), noisy()[:, :, :1]]).astype(np.uint16) * 257
    return cv2.imencode(".png", pixels)[1].tobytes()


KINDS = {
    "jpeg": lambda: file_of("JPEG", quality=85),
    "progressive jpeg": lambda: file_of("JPEG", quality=85, progressive=True),
    "png": lambda: file_of("PNG", compress_level=1),
    "png of 16 bits": png_of_16_bits,
    "webp": lambda: file_of("WEBP", quality=80, method=0),
    "heic": lambda: heic(noisy(), quality=80),
    "heic of 10 bits": lambda: heic(noisy().astype(np.uint16) * 257, quality=80),
    "avif": lambda: avif(noisy(), quality=70),
    "lossless webp": lambda: file_of("WEBP", lossless=True, quality=0, method=0),
}
MEASURE = """
import sys
from facecloak.photos import PhotoLimits, decode_photo, encode_photo
from facecloak.photos.photo import PhotoFormat

def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

limits = PhotoLimits(formats=frozenset(PhotoFormat))
decode_photo(open(sys.argv[2], "rb").read())  # loads what is loaded once
data = open(sys.argv[1], "rb").read()
open("/proc/self/clear_refs", "w").write("5")  # the peak begins here: a new process has its parent's
before = status("VmRSS")
photo = decode_photo(data, limits=limits)
changed = photo.srgb_u8.copy()
changed[:200] ^= 1
encode_photo(photo, changed)
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process's peak")
@pytest.mark.parametrize("kind", KINDS)
def test_no_photo_takes_more_than_told(tmp_path: Path, kind: str) -> None:
    data = KINDS[kind]()
    photo, small = tmp_path / "photo", tmp_path / "small.png"
    photo.write_bytes(data)
    Image.new("RGB", (64, 64)).save(small)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(photo), str(small)], capture_output=True, text=True, check=True
    )
    told = estimated_peak_bytes(data, limits=ALL_FORMATS)
    assert 0.25 * told < int(done.stdout) * 1024 <= told


def test_a_file_of_a_few_bytes_tells_what_it_becomes() -> None:
    """A lossless WebP of one color, and a PNG's header alone."""
    out = io.BytesIO()
    Image.new("RGB", (8000, 6250)).save(out, "WEBP", lossless=True)
    assert len(out.getvalue()) < 3000
    assert estimated_peak_bytes(out.getvalue()) > 40 * 50_000_000
    assert estimated_peak_bytes(b"\x89PNG\r\n\x1a\n" + header(8000, 6250, 16, 6)) > 40 * 50_000_000


def test_beyond_the_limits() -> None:
    for data in (file_of("JPEG"), b"\x89PNG\r\n\x1a\n" + header(WIDTH, HEIGHT)):
        with pytest.raises(PhotoTooLarge):
            estimated_peak_bytes(data, limits=PhotoLimits(max_pixels=WIDTH * HEIGHT - 1))
    with pytest.raises(PhotoTooLarge):
        estimated_peak_bytes(b"x" * 100, limits=PhotoLimits(max_bytes=99))


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xda\0\2"]
)
def test_what_will_be_refused_takes_nothing(data: bytes) -> None:
    assert estimated_peak_bytes(data) == 0


def test_the_unit_is_bytes_of_all_pixels() -> None:
    data = file_of("JPEG")
    assert estimated_peak_bytes(data) >= JPEG * WIDTH * HEIGHT


CLOAK = """
import sys
from pathlib import Path
import numpy as np
from facecloak.cloaking.cloaker import Cloaker, Outcome, Subject
from facecloak.masks.mask import Mask
from facecloak.photos import PhotoLimits

def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

mask = Mask.new(np.random.default_rng(0).integers(-20, 21, (112, 112, 3)).astype(np.int8), seed=0)
limits = PhotoLimits(max_pixels=256 * 10**6)
cloaker = Cloaker.load({"alice": mask}, model_repository=Path(sys.argv[3]), limits=limits)
cloaker.cloak(open(sys.argv[2], "rb").read(), [Subject("alice")])  # loads what is loaded once
data = open(sys.argv[1], "rb").read()
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
result = cloaker.cloak(data, [Subject("alice")])
peak = status("VmHWM") - before
assert (result.encoding_path, result.subjects[0].outcome) == ("splice", Outcome.CLOAKED), result.subjects
print(peak)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process's peak")
@pytest.mark.parametrize(
    ("width", "height", "side", "most_a_pixel"),
    [(4000, 3008, 3008, 6), (8000, 6000, 4096, 3), (16320, 12240, 2048, 1)],
    ids=["half of it a head", "48 megapixels, a large face", "200 megapixels"],
)
def test_a_jpeg_that_is_spliced_takes_no_more_than_told_at_first(
    tmp_path: Path,
    model_repository: Path,
    astronaut_srgb_u8: np.ndarray,
    width: int,
    height: int,
    side: int,
    most_a_pixel: float,
) -> None:
    portrait = cv2.resize(astronaut_srgb_u8[:320, 60:380], (side, side), interpolation=cv2.INTER_CUBIC)
    data = large_jpeg(portrait, width=width, height=height, top=(height - side) // 32 * 16)
    photo, small = tmp_path / "photo", tmp_path / "small.jpg"
    photo.write_bytes(data)
    Image.fromarray(astronaut_srgb_u8).save(small)
    done = subprocess.run(
        [sys.executable, "-c", CLOAK, str(photo), str(small), str(model_repository)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    limits = PhotoLimits(max_pixels=256 * 10**6)
    told, peak = estimated_first_bytes(data, limits=limits), int(done.stdout) * 1024
    assert told - BESIDE < 0.6 * (estimated_peak_bytes(data, limits=limits) - BESIDE)
    assert peak <= told
    assert peak <= most_a_pixel * width * height


def test_other_photos_take_all_of_it_at_once() -> None:
    for data in (file_of("JPEG", progressive=True), file_of("PNG", compress_level=1), b"", b"\xff\xd8\xff"):
        assert estimated_first_bytes(data) == estimated_peak_bytes(data)
