"""Why a caller is not let in. None says more than a caller may know: what exactly was wrong is in the service's log."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError


class CredentialsMissing(FaceCloakError):
    """The call proves nothing about who makes it."""

    code = ErrorCode.UNAUTHENTICATED
    reason = "CREDENTIALS_MISSING"


class CredentialsInvalid(FaceCloakError):
    """The token or the certificate proves nothing: malformed, ended, for somebody else, or of an unknown key.

    Attributes:
        why: for the log.
    """

    code = ErrorCode.UNAUTHENTICATED
    reason = "CREDENTIALS_INVALID"

    def __init__(self, why: str) -> None:
        super().__init__("the call's credentials are not valid")
        self.why = why


class CallerUnknown(FaceCloakError):
    """Who calls is proven, and nobody has given them a tenant and rights."""

    code = ErrorCode.PERMISSION_DENIED
    reason = "CALLER_UNKNOWN"


class RightMissing(FaceCloakError):
    """The caller may not call this method."""

    code = ErrorCode.PERMISSION_DENIED
    reason = "RIGHT_MISSING"


class TokenKeysUnavailable(FaceCloakError):
    """The keys that tokens are checked by could not be had, or not for too long."""

    code = ErrorCode.UNAVAILABLE
    reason = "TOKEN_KEYS_UNAVAILABLE"
    advice = "look at IDENTITY__JWKS: does the server answer, is its certificate trusted, is the document small enough?"
