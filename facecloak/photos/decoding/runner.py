"""One call for a codec, wherever its decoder runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facecloak.errors import ErrorCode, FaceCloakError

Decoder = Callable[[bytes], np.ndarray]
"""Of a module of facecloak.photos, at its top level: a file's bytes to samples of uint8 or uint16. Raises a
PhotoRefused, or what its library raises: OSError, ValueError, ..."""

# Several times what the slowest of them was measured to take.
_SECONDS_A_PIXEL = 0.5e-6
_SECONDS_BESIDE = 1.0


class DecoderFailed(ValueError):
    """A decoder ended without samples: it raised, broke down, or needed more than it may have."""


class DecoderUnavailable(FaceCloakError):
    """The process that photos are decoded in cannot be started: the machine lacks memory or processes."""

    code = ErrorCode.UNAVAILABLE
    reason = "DECODER_UNAVAILABLE"


@dataclass(frozen=True)
class DecoderLimits:
    """What one photo's decoding may take."""

    samples_bytes: int
    """Most bytes of the samples it returns."""
    memory_bytes: int
    """Most memory beside the file and the samples."""
    cpu_seconds: float
    """Most processor time."""


DecoderRunner = Callable[[Decoder, bytes, DecoderLimits], np.ndarray]
"""Runs decoders."""


def _run_here(decoder: Decoder, data: bytes, _limits: DecoderLimits) -> np.ndarray:
    return decoder(data)


_runner: DecoderRunner = _run_here


def install(runner: DecoderRunner) -> None:
    """Lets ``runner`` run this process's decoders from now on."""
    global _runner
    _runner = runner


def uninstall(runner: DecoderRunner) -> None:
    """Lets decoders run here again, unless somebody else was installed since."""
    global _runner
    if _runner is runner:
        _runner = _run_here


def run_decoder(decoder: Decoder, data: bytes, *, pixels: int, sample_bytes: int, memory_bytes: int) -> np.ndarray:
    """``decoder(data)``, where this process has its decoders run.

    Args:
        pixels: width times height by the photo's header.
        sample_bytes: most bytes a pixel of what is returned.
        memory_bytes: most bytes a pixel that the decoder takes beside.

    Raises:
        PhotoRefused: the decoder's own.
        DecoderFailed: a ValueError, whatever else went wrong with the photo in a process of its own.
        DecoderUnavailable: no process can be had for it.
        FaceCloakError: nobody waits for the photo any more (:data:`facecloak.call_context.interruption`).
    """
    limits = DecoderLimits(
        samples_bytes=pixels * sample_bytes,
        memory_bytes=pixels * memory_bytes,
        cpu_seconds=_SECONDS_BESIDE + pixels * _SECONDS_A_PIXEL,
    )
    return _runner(decoder, data, limits)
