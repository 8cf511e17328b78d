"""Errors of recognizers on Triton."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput


class ServerPackageUnavailable(FaceCloakError):
    """The Triton server for developers cannot be had on this machine."""

    code = ErrorCode.UNAVAILABLE
    reason = "TRITON_PACKAGE_UNAVAILABLE"


class TritonUnavailable(FaceCloakError):
    """The Triton server, or the model on it, does not answer; a later try may do."""

    code = ErrorCode.UNAVAILABLE
    reason = "RECOGNIZER_UNAVAILABLE"


class ServedModelDiffers(FaceCloakError):
    """Triton serves another model under this name than the model repository holds."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "RECOGNIZER_SERVED_DIFFERS"


class InvalidTritonUrl(InvalidInput):
    """The operator's address of Triton cannot be used."""

    reason = "INVALID_TRITON_URL"
