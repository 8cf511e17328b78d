"""FaceCloak: personal masks that keep face recognition from matching photos to a person.

What both services share: faces, photos, masks, stores, recognizers. Nothing here imports grpc or a service.
"""

from __future__ import annotations

import os

# ONNX Runtime's builds since 1.29 report what is run to its makers, and keep a device id and a database in the user's
# home. It asks for this before it is loaded, which is after this package; who wants the reports sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

__all__ = ["__version__"]
