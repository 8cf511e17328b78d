"""What the faces room refuses, and why."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput


class InvalidPixels(InvalidInput):
    """The array is not an upright sRGB photo: uint8, (H, W, 3), at least one pixel."""

    reason = "INVALID_PIXELS"


class InvalidBox(InvalidInput):
    """The face box is not finite, has no area, or does not touch the photo."""

    reason = "INVALID_BOX"


class InvalidLandmarks(InvalidInput):
    """The landmarks are not five finite points with some spread."""

    reason = "INVALID_LANDMARKS"


class FinderModelMissing(FaceCloakError):
    """The model repository lacks a model that the finder needs, or holds one that does not fit."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "FINDER_MODEL_MISSING"
