"""The README's picture: `python -m demo.picture docs/astronaut.png`.

scikit-image's astronaut (NASA, public domain) before and after cloaking with the default settings, and the difference
eight times as large. The same photo is enrolled and cloaked: it shows what a mask looks like, not how well it protects.
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
from facecloak.cloaking.cloaker import Cloaker, MasksInMemory, Subject
from facecloak.faces import FaceFinder
from facecloak.photos import decode_photo
from facecloak.recognizers import OnnxRuntime

_CROP = (slice(0, 280), slice(90, 370))
_GAIN = 8
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
    enroller = Enroller(runtime=runtime, finder=finder, settings=settings)
    mask = enroller.run([EnrollmentPhoto(encoded)], progress=lambda _: None, cancelled=lambda: False, seed=_SEED)
    cloaked = decode_photo(
        Cloaker(finder, MasksInMemory({"user": mask})).cloak(encoded, [Subject("user")]).photo
    ).srgb_u8
    difference = np.clip(128 + _GAIN * (cloaked.astype(int) - photo), 0, 255).astype(np.uint8)
    row = np.concatenate([picture[_CROP] for picture in (photo, cloaked, difference)], axis=1)
    cv2.imwrite(str(output), row[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
