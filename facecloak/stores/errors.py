"""What can go wrong with masks at rest."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput


class MaskNotFound(FaceCloakError):
    """The store holds no mask of this user."""

    code = ErrorCode.NOT_FOUND
    reason = "MASK_NOT_FOUND"


class ConsentExpired(MaskNotFound):
    """There is a mask, and the consent that it was made with is over: it is not used."""

    reason = "CONSENT_EXPIRED"


class UserDeleted(FaceCloakError):
    """The user was deleted after the mask was asked for; it was not kept."""

    code = ErrorCode.ABORTED
    reason = "USER_DELETED"


class KeyServerUnavailable(FaceCloakError):
    """The server that holds the wrapping keys does not answer, or not in time, or not as it should.

    Attributes:
        fault: its HTTP status or what became of the connection; in the metadata too.
    """

    code = ErrorCode.UNAVAILABLE
    reason = "KEY_SERVER_UNAVAILABLE"
    advice = "is the key server up, unsealed and reachable, and is its address right (STORE__KEY_SERVER)?"

    def __init__(self, public_message: str, /, *, fault: str, **metadata: object) -> None:
        super().__init__(public_message, fault=fault, **metadata)
        self.fault = fault


class StoreUnavailable(FaceCloakError):
    """The store does not answer, or not in time, or refuses the service itself, or is not the one that is meant.

    Attributes:
        fault: S3's own code (AccessDenied, NoSuchBucket, ...), the system's (ENOSPC, ...), or one of
            :mod:`facecloak.stores.faults`; in the metadata too.
    """

    code = ErrorCode.UNAVAILABLE
    reason = "STORE_UNAVAILABLE"

    def __init__(self, public_message: str, /, *, fault: str = "", advice: str = "", **metadata: object) -> None:
        super().__init__(public_message, **({"fault": fault} if fault else {}), **metadata)
        self.fault = fault
        self.advice = advice


class InvalidStoreUrl(InvalidInput):
    """A store URL that is neither file:///folder nor s3://bucket/prefix."""

    reason = "INVALID_STORE_URL"


class SealBroken(FaceCloakError):
    """Stored bytes were cut, changed, or moved from another user's place."""

    reason = "SEAL_BROKEN"
    advice = "restore the object from a backup, or enroll the user again"


class SealFormatUnsupported(SealBroken):
    """Stored bytes are sealed as no release up to this one seals."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "MASK_FORMAT_UNSUPPORTED"
    advice = "upgrade this service: apply before enroll, so that no mask is newer than what reads it"

    def __init__(self, **metadata: object) -> None:
        super().__init__("The mask is sealed by a later release than this service's.", **metadata)


class KeyCheckBroken(SealBroken):
    """The object that tells whether the key is right was cut or changed."""

    advice = "restore the object `key-check`, or remove it: it is made anew from the masks that the key opens"


class WrongKey(FaceCloakError):
    """The store, or a mask in it, was sealed with another key than the service has: what it holds cannot be known."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "WRONG_KEY"
    advice = "give the key that sealed this store (STORE__KEY, STORE__KEY_FILE), or the store that belongs to this key"


class KeyUnusable(FaceCloakError):
    """The sealing key cannot be read, is malformed, or other users of the machine can read it."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "KEY_UNUSABLE"
    advice = (
        "give the key by STORE__KEY or STORE__KEY_FILE; a key is made only for a new store in the default data folder"
    )
