"""What goes wrong when recognizers run."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput


class GradientUnavailable(FaceCloakError):
    """The recognizer was imported for evaluation only: it has no gradient graph."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "RECOGNIZER_GRADIENT_UNAVAILABLE"


class BatchInvalid(InvalidInput):
    """Crops or anchors given to a recognizer have the wrong shape, type or values."""

    reason = "RECOGNIZER_BATCH_INVALID"


class InferenceCancelled(FaceCloakError):
    """The call that needed the recognizer's answer was cancelled meanwhile; says nothing about the recognizer."""

    code = ErrorCode.CANCELLED
    reason = "RECOGNIZER_CALL_ABANDONED"
