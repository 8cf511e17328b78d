"""HEVC by pillow-heif (libheif, libde265, x265), AV1 by Pillow (libavif); imported only when such a photo comes."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from facecloak.call_context import interruption
from facecloak.photos.decoding import run_decoder
from facecloak.photos.decoding.runner import Decoder
from facecloak.photos.errors import PhotoDamaged, UnsupportedPhoto
from facecloak.photos.heif.structure import HeifStructure
from facecloak.photos.orientation import to_stored
from facecloak.photos.photo import PhotoFormat

_QUALITIES = (30, 45, 60, 70, 80, 88, 94, 98)
# Of a photo's many blocks, so many tell the size of all at a quality.
_SAMPLE_TILES, _SAMPLE_PX = 4, 128
# x265's presets: ultrafast makes files 4 % larger than veryfast in a third of the time.
_PRESET = "ultrafast"
# libavif's effort, 0 to 10.
_AVIF_SPEED = 8
_SUBSAMPLINGS = {444: "4:4:4", 422: "4:2:2", 420: "4:2:0"}


def decode(structure: HeifStructure) -> np.ndarray:
    """(H, W, 3 or 4) stored RGB(A): uint16 for HEIC of more than 8 bits, else uint8.

    Raises:
        PhotoDamaged: the picture's data is.
        UnsupportedPhoto: the decoder is not installed.
    """
    try:
        if structure.format is PhotoFormat.AVIF:
            samples = _run(decode_avif, structure)
            left, top, right, bottom = structure.shown
            # libavif leaves the cut to whoever calls it.
            if samples.shape[:2] == (structure.height, structure.width):
                samples = np.ascontiguousarray(samples[top:bottom, left:right])
            return samples
        samples = _run(decode_deep_heic if structure.bits > 8 else decode_heic, structure)
        # libheif turns the picture as the file says.
        return np.ascontiguousarray(to_stored(samples, structure.orientation))
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, IndexError) as error:
        raise PhotoDamaged(f"The {structure.format}'s picture data is damaged.") from error


def _run(decoder: Decoder, structure: HeifStructure) -> np.ndarray:
    """``decoder`` of the file as it came, wherever decoders run: what stands behind its boxes is not the decoder's."""
    data = structure.data[: structure.end]
    return run_decoder(decoder, data, pixels=structure.width * structure.height, sample_bytes=8, memory_bytes=64)


def encode(samples: np.ndarray, original: HeifStructure) -> bytes:
    """A file of the original's format, sampling and bits, about as large as the original; without metadata.

    Args:
        samples: (H, W, 3 or 4) stored RGB(A), uint8 or uint16.
    """
    write = _encode_avif if original.format is PhotoFormat.AVIF else _encode_heic
    return write(samples, original, _quality_of(original, samples))


def _quality_of(original: HeifStructure, samples: np.ndarray) -> int:
    """The encoder's quality at which the photo takes about as many bytes a pixel as it took, by some parts of it."""
    wanted = original.picture_bytes / (samples.shape[0] * samples.shape[1])
    part = _sample(samples)
    write = _encode_avif if original.format is PhotoFormat.AVIF else _encode_heic
    low, high, check = 0, len(_QUALITIES) - 1, interruption.get()
    while low < high:
        check()
        middle = (low + high) // 2
        size = len(write(part, original, _QUALITIES[middle]))
        low, high = (middle + 1, high) if size / (part.shape[0] * part.shape[1]) < wanted else (low, middle)
    return _QUALITIES[low]


def _sample(samples: np.ndarray) -> np.ndarray:
    """Some square parts of a photo beside each other; a small photo as it is."""
    height, width = samples.shape[:2]
    side = _SAMPLE_PX
    if height < 3 * side or width < _SAMPLE_TILES * side:
        return samples
    rows = []
    for row in range(2):
        top = (height - side) * (row + 1) // 3
        lefts = [(width - side) * (column + 1) // (_SAMPLE_TILES + 1) for column in range(_SAMPLE_TILES)]
        rows.append(np.hstack([samples[top : top + side, left : left + side] for left in lefts]))
    return np.vstack(rows)


def decode_heic(data: bytes) -> np.ndarray:
    """(H, W, 3 or 4) uint8, upright."""
    return _decode_heic(data, deep=False)


def decode_deep_heic(data: bytes) -> np.ndarray:
    """(H, W, 3 or 4) uint16, upright."""
    return _decode_heic(data, deep=True)


def _decode_heic(data: bytes, *, deep: bool) -> np.ndarray:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedPhoto("HEIC needs the extra `heif`.", format="HEIC") from error
    pillow_heif.options.DECODE_THREADS = 1
    file = pillow_heif.open_heif(data, convert_hdr_to_8bit=not deep, hdr_to_16bit=True)
    image = file[file.primary_index]
    samples = np.asarray(image)
    if samples.ndim == 2:
        return np.repeat(samples[:, :, None], 3, axis=2)
    if samples.shape[2] == 2:
        return np.dstack([*[samples[:, :, 0]] * 3, samples[:, :, 1]])
    return samples


def _encode_heic(samples: np.ndarray, original: HeifStructure, quality: int) -> bytes:
    import pillow_heif

    height, width, channels = samples.shape
    mode = ("RGBA" if channels == 4 else "RGB") + (";16" if samples.dtype == np.uint16 else "")
    options: dict[str, object] = {}
    if (nclx := _description(original)) is not None:
        described = dict(zip(_NCLX, nclx, strict=True))
        options |= {"nclx_profile": described, **described}
    if samples.dtype == np.uint16:
        options["bit_depth"] = 12 if original.bits > 10 else 10
    out = io.BytesIO()
    pillow_heif.encode(
        mode, (width, height), np.ascontiguousarray(samples).tobytes(), out, quality=quality, chroma=_chroma(original),
        enc_params={"preset": _PRESET}, tile_size=0, **options,
    )  # fmt: skip
    return out.getvalue()


_NCLX = ("color_primaries", "transfer_characteristics", "matrix_coefficients", "full_range_flag")


def _description(original: HeifStructure) -> tuple[int, int, int, int] | None:
    """Primaries, transfer, matrix and full range as ``colr`` states them; None where it does not."""
    for kind, content in original.primary.properties:
        if kind == b"colr" and content[:4] == b"nclx" and len(content) >= 11:
            numbers = [int.from_bytes(content[at : at + 2], "big") for at in (4, 6, 8)]
            # What the encoder cannot make of RGB is made by the usual matrix.
            matrix = numbers[2] if numbers[2] in (1, 5, 6, 9) else 6
            return numbers[0], numbers[1], matrix, content[10] >> 7
    return None


def _chroma(original: HeifStructure) -> int:
    """444, 422 or 420; gray counts as 420."""
    for item in original.parts:
        if (hevc := item.value_of(b"hvcC")) is not None and len(hevc) > 16:
            return {2: 422, 3: 444}.get(hevc[16] & 3, 420)
        if (av1 := item.value_of(b"av1C")) is not None and len(av1) > 2:
            return 420 if av1[2] & 0x08 and av1[2] & 0x04 else 422 if av1[2] & 0x08 else 444
    return 420


def decode_avif(data: bytes) -> np.ndarray:
    """(H, W, 3 or 4) uint8, as stored: Pillow does not turn the picture."""
    from PIL import AvifImagePlugin  # loads the decoder, which other photos do without

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    with Image.open(io.BytesIO(data), formats=["AVIF"]) as image:
        return np.array(image.convert("RGBA" if "A" in image.getbands() else "RGB"))


def _encode_avif(samples: np.ndarray, original: HeifStructure, quality: int) -> bytes:
    out = io.BytesIO()
    pixels = samples if samples.dtype == np.uint8 else cv2.convertScaleAbs(samples, alpha=1 / 257)
    Image.fromarray(pixels).save(
        out, "AVIF", quality=quality, subsampling=_SUBSAMPLINGS[_chroma(original)], speed=_AVIF_SPEED, max_threads=1
    )
    return out.getvalue()
