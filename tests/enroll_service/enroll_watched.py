"""Enrolls a photo in a process that may write nothing to a file: run by test_never_on_disk, with the photo on its
standard input. Writes, as JSON, what was opened for writing and what was left of the photo in memory.

    python enroll_watched.py REPOSITORY SYNTHESIZER [LEAK]
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from enroll_service.pipeline.enroller import Enroller
from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from enroll_service.pipeline.intake.portrait import Portrait
from enroll_service.pipeline.ops.variations import Variations
from enroll_service.pipeline.recipe import PerturbRecipe, Recipe, SynthesisRecipe
from enroll_service.pipeline.settings import PipelineSettings, SynthesizerName
from enroll_service.pipeline.synthesize.factory import build_synthesizer
from facecloak.faces import FaceFinder
from facecloak.recognizers.onnx_runtime import OnnxRuntime


class Leaking:
    """A synthesizer that does what none may do: the check must see it."""

    def __init__(self, synthesizer: Any, how: str) -> None:
        self._synthesizer, self._how = synthesizer, how
        self.identity = synthesizer.identity
        self.kept: list[Any] = []

    def synthesize(self, portraits: Any, **keywords: Any) -> Variations:
        if self._how == "library":
            cv2.imwrite("crop.png", portraits[0].wide_srgb_u8)
        else:
            Path("crop.bin").touch()
            self.kept.append(portraits)
        made: Variations = self._synthesizer.synthesize(portraits, **keywords)
        return made


def main(repository: str, synthesizer: str, leak: str = "") -> None:
    """See the module."""
    photo = sys.stdin.buffer.read()
    surrogates = ("dlib_resnet", "mobileface")
    settings = PipelineSettings(
        surrogates=surrogates,
        synthesizer=SynthesizerName(synthesizer),
        recipe=Recipe(synthesis=SynthesisRecipe(variations=4), perturb=PerturbRecipe(iterations=2, batch=2)),
    )
    runtime = OnnxRuntime(Path(repository), names=surrogates, threads=1)
    finder = FaceFinder.load(Path(repository))
    built = build_synthesizer(settings, runtime=runtime, finder=finder)
    enroller = Enroller(
        runtime=runtime, finder=finder, settings=settings, synthesizer=Leaking(built, leak) if leak else built
    )
    opened: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            opened.append(str(arguments[0]))

    sys.addaudithook(watch)
    # What libraries write is no event of Python's: the first byte that anything writes to a file ends the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    mask = enroller.run([EnrollmentPhoto(photo)], progress=lambda _: None, cancelled=lambda: False)
    gc.collect()
    # Not isinstance, which asks lazy objects of torch for their class, and these load modules.
    left = [type(one).__name__ for one in gc.get_objects() if type(one) in (Portrait, Variations)]
    level = int(np.abs(mask.pixels.astype(int)).max())
    sys.stdout.write(json.dumps({"opened": opened, "left": left, "level": level}))


if __name__ == "__main__":
    main(*sys.argv[1:])
