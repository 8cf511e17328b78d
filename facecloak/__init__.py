"""FaceCloak: personal masks that keep face recognition from matching photos to a person.

What both services share: faces, photos, masks, stores, recognizers. Nothing here imports grpc or a service.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
