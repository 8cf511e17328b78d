"""What can go wrong with masks at rest."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput


class MaskNotFound(FaceCloakError):
    """The store holds no mask of this user."""

    code = ErrorCode.NOT_FOUND
    reason = "MASK_NOT_FOUND"


class StoreUnavailable(FaceCloakError):
    """The store does not answer, or not in time, or refuses the service itself."""

    code = ErrorCode.UNAVAILABLE
    reason = "STORE_UNAVAILABLE"


class InvalidStoreUrl(InvalidInput):
    """A store URL that is neither file:///folder nor s3://bucket/prefix."""

    reason = "INVALID_STORE_URL"


class SealBroken(FaceCloakError):
    """Stored bytes were cut, changed, or moved from another user's place."""

    reason = "SEAL_BROKEN"


class WrongKey(FaceCloakError):
    """Stored bytes were sealed with another key than the service has."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "WRONG_KEY"


class KeyUnusable(FaceCloakError):
    """The sealing key cannot be read, is malformed, or other users of the machine can read it."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "KEY_UNUSABLE"
