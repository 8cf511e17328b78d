"""The picture of docs/how-it-works.md: `python -m demo.stages docs/stages.png`.

scikit-image's astronaut (NASA, public domain): the aligned crop and some of the variations that a mask is learned on;
what the mask paints, eight times as large, how it bends a grid, twice as far, and the crop with the mask.
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
from skimage import data

from enroll_service.pipeline import PipelineSettings
from enroll_service.pipeline.enroller import Enroller
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.selection import select_photos
from enroll_service.pipeline.synthesize.factory import build_synthesizer
from facecloak.cloaking.cloaker import Cloaker, MasksInMemory, Subject
from facecloak.faces import FaceFinder, aligned_crop
from facecloak.masks.displacement import displacement_px
from facecloak.masks.mask import Mask
from facecloak.photos import decode_photo
from facecloak.recognizers import OnnxRuntime

_VARIATIONS = 7
_SIDE_PX = 224
_PAINT_GAIN, _DISPLACEMENT_GAIN = 8, 2
_GRID_PX = 8
# The picture can be made again.
_SEED = 0


@click.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"), show_default=True)
def main(output: Path, repository: Path) -> None:
    """Write the picture."""
    photo = np.ascontiguousarray(data.astronaut())
    encoded = cv2.imencode(".png", photo[:, :, ::-1])[1].tobytes()
    settings = PipelineSettings()
    runtime, finder = OnnxRuntime(repository, names=settings.surrogates), FaceFinder.load(repository)
    portraits = select_photos(
        [EnrollmentPhoto(encoded)], leave_out_unfit=False, finder=finder, runtime=runtime,
        surrogates=settings.surrogates, settings=settings.intake,
    ).portraits  # fmt: skip
    synthesizer = build_synthesizer(settings, runtime=runtime, finder=finder)
    variations = synthesizer.synthesize(portraits, count=_VARIATIONS, seed=_SEED, checkpoint=lambda done: None)
    enroller = Enroller(runtime=runtime, finder=finder, settings=settings)
    stored = enroller.run([EnrollmentPhoto(encoded)], progress=lambda _: None, cancelled=lambda: False, seed=_SEED)
    cloaked = decode_photo(Cloaker(finder, MasksInMemory({"user": stored})).cloak(encoded, [Subject("user")]).photo)
    landmarks = finder.find(photo)[0].landmarks
    crop = aligned_crop(photo, landmarks)
    mask = stored.masks[0]
    varied = variations.crops.permute(0, 2, 3, 1).numpy().clip(0, 255).astype(np.uint8)
    rows = [
        [crop, *varied[:3]],
        list(varied[3:_VARIATIONS]),
        [crop, _painted(mask), _moved(mask), aligned_crop(cloaked.srgb_u8, landmarks)],
    ]
    picture = np.vstack([np.hstack([_enlarged(cell) for cell in row]) for row in rows])
    cv2.imwrite(str(output), picture[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _painted(mask: Mask) -> np.ndarray:
    return np.clip(128 + _PAINT_GAIN * mask.pixels.astype(int), 0, 255).astype(np.uint8)


def _moved(mask: Mask) -> np.ndarray:
    """A regular grid of lines, (112, 112, 3), as the mask displaces it."""
    side = len(mask.pixels)
    lines = np.full((side, side), 255, np.uint8)
    lines[::_GRID_PX] = lines[:, ::_GRID_PX] = 0
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).astype(np.float32)
    at += _DISPLACEMENT_GAIN * displacement_px(mask.displacement)
    return cv2.cvtColor(cv2.remap(lines, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderValue=255), cv2.COLOR_GRAY2RGB)


def _enlarged(srgb_u8: np.ndarray) -> np.ndarray:
    return cv2.resize(srgb_u8, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_CUBIC)


if __name__ == "__main__":
    main()
