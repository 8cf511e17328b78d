"""An animation's frames, each as it is seen: over what the frames before have left; and a file of changed ones."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageSequence

from facecloak.call_context import interruption
from facecloak.photos.animation.header import AnimationFormat, AnimationHeader, has_gif_metadata, read_animation
from facecloak.photos.decoding import run_decoder
from facecloak.photos.errors import AnimatedPhoto, PhotoDamaged, PhotoRefused
from facecloak.photos.limits import PhotoLimits
from facecloak.photos.metadata.painter import ThumbnailPainter
from facecloak.photos.metadata.png_chunks import cleaned_chunks
from facecloak.photos.metadata.report import Report
from facecloak.photos.metadata.webp_chunks import cleaned_chunk
from facecloak.photos.orientation import orientation_of
from facecloak.photos.photo import Encoded
from facecloak.photos.png import MAGIC, Chunk, png_chunks
from facecloak.photos.webp import frame_quality, webp_chunks, with_chunks

_PILLOWS = {AnimationFormat.GIF: "GIF", AnimationFormat.APNG: "PNG", AnimationFormat.WEBP: "WEBP"}
_WEBP_PICTURE = frozenset((b"VP8X", b"ANIM", b"ANMF", b"VP8 ", b"VP8L", b"ALPH"))
_PNG_PICTURE = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"))
_OF_SAMPLES = frozenset((b"sBIT", b"hIST", b"bKGD"))
_OPAQUE = 255
_OCTREE = Image.Quantize.FASTOCTREE  # the one that knows alpha


@dataclass(frozen=True, eq=False, repr=False)
class Animation:
    """An animation's frames.

    Attributes:
        frames: (N, H, W, 4) uint8 RGBA, read-only.
    """

    data: bytes
    header: AnimationHeader
    frames: np.ndarray

    def encode(self, frames: np.ndarray) -> Encoded:
        """The animation with other frames: format, timing, number of loops and metadata as they were, the latter as
        :mod:`facecloak.photos.metadata` cleans it. Between frames :data:`facecloak.call_context.interruption` is
        asked.

        Args:
            frames: (N, H, W, 4) uint8 RGBA.
        """
        report = Report()
        has_alpha = _has_alpha(frames)
        pictures = [_interruptible(Image.fromarray(frame if has_alpha else frame[:, :, :3])) for frame in frames]
        durations = [float(ms) for ms in self.header.durations_ms]
        write = {
            AnimationFormat.GIF: self._gif, AnimationFormat.APNG: self._apng, AnimationFormat.WEBP: self._webp,
        }[self.header.format]  # fmt: skip
        painter = ThumbnailPainter(lambda _: np.ascontiguousarray(frames[0][:, :, :3]), orientation=1)
        return Encoded(write(pictures, durations, painter, report), report.names)

    def _gif(
        self, pictures: list[Image.Image], durations: list[float], painter: ThumbnailPainter, report: Report
    ) -> bytes:
        # A palette for each frame: colors that one frame has are no other's loss.
        indexed, check = [], interruption.get()
        for picture in pictures:
            check()
            method = _OCTREE if picture.mode == "RGBA" else Image.Quantize.MEDIANCUT
            indexed.append(_interruptible(picture.quantize(256, method=method)))
        out = io.BytesIO()
        loops = {} if self.header.loop is None else {"loop": self.header.loop}
        indexed[0].save(
            out, "GIF", save_all=True, append_images=indexed[1:], duration=[round(ms) for ms in durations], disposal=2,
            optimize=False, **loops,
        )  # fmt: skip
        if has_gif_metadata(self.data):
            report.dropped("gif.metadata")
        # Pillow calls a still GIF87a, which knows no extensions: a tag and a C2PA manifest are such.
        return b"GIF89a" + out.getvalue()[6:]

    def _apng(
        self, pictures: list[Image.Image], durations: list[float], painter: ThumbnailPainter, report: Report
    ) -> bytes:
        out = io.BytesIO()
        pictures[0].save(
            out, "PNG", save_all=True, append_images=pictures[1:], duration=durations, loop=self.header.loop or 0,
            compress_level=4, disposal=0, blend=0,
        )  # fmt: skip
        own = [chunk for chunk in png_chunks(self.data) if chunk.kind not in _PNG_PICTURE | _OF_SAMPLES]
        kept = [chunk for chunk in cleaned_chunks(own, painter, report) if chunk]
        chunks: list[Chunk] = list(png_chunks(out.getvalue()))
        return b"".join([MAGIC, chunks[0].data, *kept, *(chunk.data for chunk in chunks[1:])])

    def _webp(
        self, pictures: list[Image.Image], durations: list[float], painter: ThumbnailPainter, report: Report
    ) -> bytes:
        chunks = webp_chunks(self.data)
        quality = frame_quality([payload for kind, payload in chunks if kind == b"ANMF"])
        options: dict[str, object] = {"lossless": True, "quality": 20} if quality is None else {"quality": quality}
        out = io.BytesIO()
        pictures[0].save(
            out, "WEBP", save_all=True, append_images=pictures[1:], duration=[round(ms) for ms in durations],
            loop=self.header.loop or 0, method=1, **options,
        )  # fmt: skip
        kept = [
            (kind, cleaned)
            for kind, payload in chunks
            if kind not in _WEBP_PICTURE and (cleaned := cleaned_chunk(kind, payload, painter, report)) is not None
        ]
        return with_chunks(out.getvalue(), kept, alpha=pictures[0].mode == "RGBA")


class _InterruptiblePicture(Image.Image):
    """A frame to be written: a writer goes to each before it codes it, which ends where nobody waits any more."""

    def seek(self, frame: int) -> None:
        """See PIL.Image.Image."""
        interruption.get()()
        super().seek(frame)


def _interruptible(picture: Image.Image) -> Image.Image:
    picture.__class__ = _InterruptiblePicture
    return picture


def decode_animation(data: bytes, header: AnimationHeader, *, limits: PhotoLimits) -> Animation:
    """The animation whose header was read. Raises the refusals of :func:`facecloak.photos.decode_photo`."""
    if _orientation(data, header) != 1:
        raise AnimatedPhoto("An animation that is to be turned is not taken.")
    try:
        stacked = run_decoder(_DECODERS[header.format], data, pixels=header.pixels, sample_bytes=4, memory_bytes=24)
    except PhotoRefused:
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PhotoDamaged("The animation's picture data is damaged.") from error
    count = len(header.durations_ms)
    if stacked.shape != (count * header.height, header.width, 4):
        raise PhotoDamaged("The animation's frames are not what its headers state.")
    return Animation(data, header, stacked.reshape(count, header.height, header.width, 4))


def still_of(data: bytes, *, limits: PhotoLimits) -> bytes:
    """An animation's first frame as a file of its own (PNG); any other photo as it came."""
    header = read_animation(data, limits)
    return data if header is None else frame_as_png(decode_animation(data, header, limits=limits).frames[0])


def frame_as_png(frame: np.ndarray) -> bytes:
    """A frame (H, W, 4), without its alpha, as a file."""
    done, encoded = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGBA2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return encoded.tobytes()


def decode_gif(data: bytes) -> np.ndarray:
    """(N * H, W, 4) uint8: all frames, one below the other."""
    return _frames(data, "GIF")


def decode_apng(data: bytes) -> np.ndarray:
    """See :func:`decode_gif`."""
    return _frames(data, "PNG")


def decode_webp(data: bytes) -> np.ndarray:
    """See :func:`decode_gif`."""
    return _frames(data, "WEBP")


_DECODERS = {AnimationFormat.GIF: decode_gif, AnimationFormat.APNG: decode_apng, AnimationFormat.WEBP: decode_webp}


def _frames(data: bytes, kind: str) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        # The picture that programs show that know no animations is no frame of it.
        begin = 1 if getattr(image, "default_image", False) else 0
        frames = [np.array(frame.convert("RGBA")) for frame in ImageSequence.all_frames(image)[begin:]]
    return np.concatenate(frames)


def _orientation(data: bytes, header: AnimationHeader) -> int:
    if header.format is AnimationFormat.WEBP:
        return orientation_of(next((payload for kind, payload in webp_chunks(data) if kind == b"EXIF"), b""))
    if header.format is AnimationFormat.APNG:
        return orientation_of(next((chunk.payload for chunk in png_chunks(data) if chunk.kind == b"eXIf"), b""))
    return 1


def _has_alpha(frames: np.ndarray | Sequence[np.ndarray]) -> bool:
    return any((frame[:, :, 3] != _OPAQUE).any() for frame in frames)
