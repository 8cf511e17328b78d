"""What can be wrong with a signer."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError


class SignerUnusable(FaceCloakError):
    """The certificates or the key that photos are to be signed with cannot be used: not PEM, of another key, over, of a
    kind that C2PA does not allow, or readable by other users of the machine."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "SIGNER_UNUSABLE"


class SigningFailed(FaceCloakError):
    """A cloaked photo could not be signed, and is not given out unsigned: the certificate has ended meanwhile, or the
    timestamp authority does not answer."""

    code = ErrorCode.UNAVAILABLE
    reason = "SIGNING_FAILED"
