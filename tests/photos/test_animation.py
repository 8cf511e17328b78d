from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from benchmarks.mutations import mutated
from facecloak.photos import PhotoDamaged, PhotoLimits, PhotoRefused, PhotoTooLarge, PhotoTruncated
from facecloak.photos.animation import decode_animation, read_animation
from facecloak.photos.file_tag import payload_of, picture_of, with_tag, without_tag
from facecloak.photos.memory import estimated_peak_bytes

LIMITS = PhotoLimits()
DURATIONS = [100, 40, 250, 70]
KINDS = ["GIF", "PNG", "WEBP"]


def frames_of(scene: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(np.roll(scene, 9 * step, axis=1)) for step in range(len(DURATIONS))]


def animation(frames: list[np.ndarray], kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    pictures = [Image.fromarray(frame) for frame in frames]
    defaults: dict[str, object] = {"duration": DURATIONS[: len(frames)], "loop": 3}
    if kind == "WEBP":
        defaults |= {"lossless": True, "method": 0}
    pictures[0].save(out, kind, save_all=True, append_images=pictures[1:], **{**defaults, **options})
    return out.getvalue()


def seen(data: bytes) -> tuple[list[np.ndarray], list[float], int]:
    """Frames, durations and loops as Pillow has them."""
    with Image.open(io.BytesIO(data)) as image:
        frames, durations = [], []
        for frame in ImageSequence.Iterator(image):
            frames.append(np.array(frame.convert("RGB")))
            durations.append(float(frame.info["duration"]))
        return frames, durations, image.info.get("loop", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_timing_and_loops_come_and_go_as_they_were(scene, kind: str) -> None:
    data = animation(frames_of(scene), kind)
    header = read_animation(data, LIMITS)
    assert header is not None
    assert (header.width, header.height, header.durations_ms) == (130, 90, tuple(DURATIONS))
    whole = decode_animation(data, header, limits=LIMITS)
    frames, durations, loops = seen(data)
    assert [np.abs(a[:, :, :3].astype(int) - b).max() for a, b in zip(whole.frames, frames, strict=True)] == [0] * 4
    changed = whole.frames.copy()
    changed[:, 20:60, 20:60, :3] ^= 8
    out = whole.encode(changed)
    after = seen(out.data)
    assert (after[1], after[2]) == (durations, loops)
    for want, got in zip(changed, after[0], strict=True):
        # A GIF's 256 colors are chosen anew.
        assert np.abs(want[:, :, :3].astype(int) - got).mean() < (4 if kind == "GIF" else 0.01)


def test_alpha_of_frames_stays(scene) -> None:
    alpha = np.full((90, 130, 1), 255, np.uint8)
    alpha[:, :30] = 0
    frames = [np.dstack([frame, alpha]) for frame in frames_of(scene)]
    for kind in ("PNG", "WEBP"):
        data = animation(frames, kind)
        header = read_animation(data, LIMITS)
        assert header is not None
        whole = decode_animation(data, header, limits=LIMITS)
        again = decode_animation(whole.encode(whole.frames ^ 0).data, header, limits=LIMITS)
        assert np.array_equal(again.frames[:, :, :, 3], whole.frames[:, :, :, 3])


def test_metadata_stays_and_pictures_in_it_go(scene, exif) -> None:
    profile = bytes(range(256)) * 2
    data = animation(frames_of(scene), "WEBP", exif=exif(1), icc_profile=profile)
    header = read_animation(data, LIMITS)
    assert header is not None
    whole = decode_animation(data, header, limits=LIMITS)
    with Image.open(io.BytesIO(whole.encode(whole.frames ^ 0).data)) as image:
        assert (image.info["exif"], image.info["icc_profile"], image.n_frames) == (exif(1), profile, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tag_goes_in_and_out(scene, kind: str) -> None:
    data = animation(frames_of(scene), kind)
    tagged = with_tag(data, b"p" * 600)
    assert payload_of(tagged) == b"p" * 600
    assert b"".join(map(bytes, picture_of(tagged))) == b"".join(map(bytes, picture_of(data)))
    assert payload_of(without_tag(tagged)) is None
    assert len(seen(tagged)[0]) == 4
    other = animation(frames_of(255 - scene), kind)
    assert b"".join(map(bytes, picture_of(other))) != b"".join(map(bytes, picture_of(data)))


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_checked_before_decoding(scene, kind: str) -> None:
    data = animation(frames_of(scene), kind)
    for limits in (
        PhotoLimits(max_frames=3),
        PhotoLimits(max_animation_pixels=130 * 90 * 4 - 1),
        PhotoLimits(max_side=99),
    ):
        with pytest.raises(PhotoTooLarge):
            read_animation(data, limits)
        with pytest.raises(PhotoTooLarge):
            estimated_peak_bytes(data, limits=limits)
    assert estimated_peak_bytes(data) > 4 * 130 * 90 * 20


def test_stills_are_none_but_for_gifs(scene, save) -> None:
    for kind in ("PNG", "WEBP", "JPEG"):
        assert read_animation(save(scene, kind), LIMITS) is None
    header = read_animation(save(Image.fromarray(scene).quantize(64), "GIF"), LIMITS)
    assert header is not None
    assert header.durations_ms == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_animations_end_in_a_refusal(scene, kind: str) -> None:
    seeds = [animation([frame[:24, :32] for frame in frames_of(scene)], kind)]
    for run in range(400):
        data = mutated(np.random.default_rng(run), seeds)
        try:
            header = read_animation(data, LIMITS)
            if header is not None and header.pixels < 10**6:
                decode_animation(data, header, limits=LIMITS)
        except PhotoRefused:
            continue


def test_every_cut_of_a_gif_is_found(scene) -> None:
    data = animation(frames_of(scene), "GIF")
    for length in range(14, len(data), 997):
        with pytest.raises((PhotoTruncated, PhotoDamaged)):
            read_animation(data[:length], LIMITS)
