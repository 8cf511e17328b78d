"""The one error base of FaceCloak.

Every refusal that a caller can act on derives from :class:`FaceCloakError`. The domain raises it; each edge (gRPC, CLI)
maps it once. Anything else that escapes is a defect, and its text never reaches a caller.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class ErrorCode(StrEnum):
    """What a caller should do about an error; names follow google.rpc.Code."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    """The request is wrong whatever the state of the service: mend it."""
    NOT_FOUND = "NOT_FOUND"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    """Who calls is not proven: send good credentials."""
    PERMISSION_DENIED = "PERMISSION_DENIED"
    """Who calls is proven, and may not do this."""
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    """The request is well formed but what it refers to does not qualify: do something else first."""
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    """A limit on load was reached: try again later."""
    UNAVAILABLE = "UNAVAILABLE"
    """Something the service depends on does not answer: try again."""
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    ABORTED = "ABORTED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"


class FaceCloakError(Exception):
    """Base of all errors that callers may see.

    Attributes:
        code: the class of the error (what to do about it).
        reason: stable UPPER_SNAKE identifier of the exact cause, unique in FaceCloak.
        public_message: one sentence for a person; holds nothing biometric, no paths, no user id.
        metadata: facts a program can use (limits, sizes), as strings.
        advice: what an operator may do about it, one sentence or ""; for logs and the doctor, callers never get it.
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL
    reason: ClassVar[str] = "INTERNAL"
    advice: str = ""

    def __init__(self, public_message: str, /, **metadata: object) -> None:
        super().__init__(public_message)
        self.public_message = public_message
        self.metadata: dict[str, str] = {key: str(value) for key, value in metadata.items()}


class InvalidInput(FaceCloakError):
    """The caller's input is wrong and will stay wrong."""

    code = ErrorCode.INVALID_ARGUMENT
    reason = "INVALID_INPUT"
