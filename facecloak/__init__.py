"""FaceCloak: personal masks that keep face recognition from matching photos to a person.

This is the library that both services share: faces, photos, masks, stores, recognizers. It never imports grpc.

    import facecloak

    mask = facecloak.enroll("portrait.jpg")
    cloaked = facecloak.apply("party.jpg", mask)

The names below are loaded on first use, so that ``import facecloak`` costs nothing. Those for learning and measuring
(:data:`LEARNING`) need the extra ``enroll``. Types are in ``__init__.pyi``.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

# ONNX Runtime's builds since 1.29 report what is run to its makers, and keep a device id and a database in the user's
# home. It asks for this before it is loaded, which is after this package; who wants the reports sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

_HOMES = {
    "Box": "facecloak.faces",
    "CloakResult": "facecloak.cloaking.cloaker",
    "Cloaker": "facecloak.cloaking.cloaker",
    "FaceCloakError": "facecloak.errors",
    "Mask": "facecloak.masks.mask",
    "MaskBank": "facecloak.masks.bank",
    "Outcome": "facecloak.cloaking.subject",
    "PhotoNotCloaked": "facecloak.cloaking.cloaker",
    "Subject": "facecloak.cloaking.subject",
    "SubjectResult": "facecloak.cloaking.cloaker",
    "apply": "facecloak.cloaking.apply",
    "mask_from_bytes": "facecloak.masks.bank",
}

LEARNING = {"enroll": "enroll_service.library", "evaluate": "facecloak_evaluation.library"}
"""What lies above this library, by module: it imports these by name only, and only when they are asked for."""

__all__ = [*_HOMES, *LEARNING, "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name) or LEARNING.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
