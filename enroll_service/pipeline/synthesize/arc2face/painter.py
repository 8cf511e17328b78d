"""Pictures of an identity: the diffusion pipeline behind one narrow method."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import structlog
import torch

from enroll_service.pipeline.recipe import Arc2FaceRecipe
from enroll_service.pipeline.settings import Arc2FaceSettings
from enroll_service.pipeline.synthesize.arc2face.prompt import identity_prompt
from enroll_service.pipeline.synthesize.arc2face.weights import LICENSE, Weights, load_pipeline

_log = structlog.get_logger("enroll_service.arc2face")

# How often one who waits for the pipeline looks whether the enrollment was cancelled, seconds.
_PATIENCE_SECONDS = 0.1


class Painter:
    """Draws pictures of an identity. Safe to share between threads: one enrollment draws at a time.

    Args:
        settings: which weights, and where they run.
        recipe: how many steps.

    Raises:
        SynthesizerUnavailable: weights missing or unfit, or no GPU where one is asked for.
        ModuleNotFoundError: the extra `diffusion` is not installed.
    """

    def __init__(self, settings: Arc2FaceSettings, *, recipe: Arc2FaceRecipe) -> None:
        weights = Weights.of(settings)
        self._settings, self._recipe = settings, recipe
        self._pipeline: Any = load_pipeline(weights, settings)
        self._drawing = threading.Lock()
        self.identity = f"arc2face-1:{weights.digest()[:16]}"
        """Version of this code and digest of the weights."""
        _log.warning("arc2face weights loaded", identity=self.identity, license=LICENSE)

    def draw(
        self, identity: np.ndarray, *, seeds: Sequence[int], checkpoint: Callable[[float], None]
    ) -> list[np.ndarray | None]:
        """One picture a seed, (S, S, 3) uint8 RGB, S as the weights have it (512); None where it cannot be used
        (the safety checker withheld it, or half precision overflowed).

        A picture depends on its own seed, not on its neighbors in a batch (but for the last bits, by the device).

        Args:
            identity: (512,) float32 of unit length.
            checkpoint: called before each step of each batch with the share done, 0..1; raises to stop.
        """
        pictures: list[np.ndarray | None] = []
        batch = self._settings.batch
        with self._held(checkpoint):
            prompt = identity_prompt(self._pipeline, identity)
            for start in range(0, len(seeds), batch):
                chosen = seeds[start : start + batch]
                pictures += self._draw(prompt, chosen, part_of(checkpoint, start, len(chosen), len(seeds)))
        return pictures

    def _draw(
        self, prompt: torch.Tensor, seeds: Sequence[int], checkpoint: Callable[[float], None]
    ) -> Iterator[np.ndarray | None]:
        steps = self._recipe.steps
        checkpoint(0.0)

        def step_ended(_pipeline: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            checkpoint(min(1.0, (step + 1) / steps))
            return tensors

        drawn = self._pipeline(
            prompt_embeds=prompt.expand(len(seeds), -1, -1),
            num_inference_steps=steps,
            guidance_scale=self._recipe.guidance,
            # On the CPU whatever the device: the same seed then starts from the same noise everywhere.
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            callback_on_step_end=step_ended,
            output_type="np",
        )
        withheld = drawn.nsfw_content_detected or [False] * len(seeds)
        for picture, unfit in zip(drawn.images, withheld, strict=True):
            usable = not unfit and bool(np.isfinite(picture).all())
            yield np.ascontiguousarray((picture * 255).round().astype(np.uint8)) if usable else None

    @contextmanager
    def _held(self, checkpoint: Callable[[float], None]) -> Iterator[None]:
        """The pipeline to oneself: its scheduler keeps the state of one drawing."""
        while not self._drawing.acquire(timeout=_PATIENCE_SECONDS):
            checkpoint(0.0)
        try:
            yield
        finally:
            self._drawing.release()


def part_of(checkpoint: Callable[[float], None], begin: float, length: float, total: float) -> Callable[[float], None]:
    """A checkpoint for the part of the work from ``begin`` to ``begin + length`` of ``total``."""
    return lambda done: checkpoint(min(1.0, (begin + done * length) / total))
