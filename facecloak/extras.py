"""Which extra of the package brings a module that is not there: the base install has no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_EXTRA_OF_MODULE = {
    "accelerate": "diffusion",
    "c2pa": "c2pa",
    "diffusers": "diffusion",
    "kornia": "enroll",
    "obstore": "backfill",
    "onnx": "enroll",
    "opentelemetry": "otel",
    "ray": "backfill",
    "skimage": "enroll",
    "tenacity": "triton",
    "torch": "enroll",
    "transformers": "diffusion",
    "tritonclient": "triton",
}


def extra_for(error: ModuleNotFoundError) -> str | None:
    """The extra that brings the missing module; None for a module that none brings."""
    return _EXTRA_OF_MODULE.get((error.name or "").partition(".")[0])


@contextmanager
def naming_the_extra() -> Iterator[None]:
    """Adds to a ModuleNotFoundError what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = extra_for(error)
        if extra is not None:
            error.add_note(f"It comes with an extra: pip install 'facecloak[{extra}]'")
        raise
