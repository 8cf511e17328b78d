"""Why a run does not begin, or ends before its time."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput


class InvalidPlace(InvalidInput):
    """A place of photos that is neither a folder nor a URL of object storage, or a name that leads out of it."""

    reason = "INVALID_PLACE"


class InvalidManifest(InvalidInput):
    """A manifest or a pattern that does not tell whose photos are whose."""

    reason = "INVALID_MANIFEST"


class OtherRun(FaceCloakError):
    """The state at the destination is of a run with another source or other people."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "OTHER_RUN"


class FileMissing(FaceCloakError):
    """The place says that it has no file of this name."""

    code = ErrorCode.NOT_FOUND
    reason = "FILE_MISSING"


class PlaceUnavailable(FaceCloakError):
    """The place does not answer, or refuses, or is full: the photo is to be tried again."""

    code = ErrorCode.UNAVAILABLE
    reason = "PLACE_UNAVAILABLE"
