"""What goes wrong with models: their specs, files, packages and imports."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput


class SpecInvalid(InvalidInput):
    """A ``spec.toml`` is not TOML, misses a field or holds a value outside its range."""

    reason = "RECOGNIZER_SPEC_INVALID"


class RecognizerUnknown(FaceCloakError):
    """The model repository holds no model of this name."""

    code = ErrorCode.NOT_FOUND
    reason = "RECOGNIZER_UNKNOWN"


class ModelDamaged(FaceCloakError):
    """A model file is missing or its SHA-256 is not the one its spec records."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "RECOGNIZER_MODEL_DAMAGED"


class ModelUnsupported(InvalidInput):
    """A model cannot be imported: too large, not ONNX, an unknown operation, a shape that does not fit its spec."""

    reason = "RECOGNIZER_MODEL_UNSUPPORTED"


class VerificationFailed(FaceCloakError):
    """An imported model loads but does not behave: its embedding is not finite, or depends on the batch size."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "RECOGNIZER_VERIFICATION_FAILED"


class PackageUnavailable(FaceCloakError):
    """A model package could not be brought: no client, no registry, or the deadline passed."""

    code = ErrorCode.UNAVAILABLE
    reason = "MODEL_PACKAGE_UNAVAILABLE"


class PackageRefused(FaceCloakError):
    """A model package is not the pinned one, or its archive breaks a bound."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "MODEL_PACKAGE_REFUSED"


class RecognizerFailed(FaceCloakError):
    """The inference engine refused to load or to run a model."""

    code = ErrorCode.INTERNAL
    reason = "RECOGNIZER_FAILED"
